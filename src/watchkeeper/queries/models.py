"""The shapes of the answers, as the HTTP API publishes them.

The queries return plain dictionaries with exactly these keys, so that a quick command need not import msgspec; the
server converts them to these types, and the browser's types are generated from them. Times are RFC 3339 in UTC with
milliseconds. ``None`` always means *not known*, never zero.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Outcome = Literal["ok", "failed", "denied", "interrupted", "rejected", "running", "unknown"]
"""What became of a call; see `CallRow.outcome_by` for who denied or stopped it."""

ItemKind = Literal["prompt", "message", "call", "event", "subagent", "gap", "finding"]


class Coverage(msgspec.Struct):
    """How much of what happened is on record, over the calls of one session or of all."""

    tool_calls: int
    by_witness: dict[str, int | None]
    """Calls seen by each witness; ``None`` where that witness was not active."""
    complete: float | None
    """Share of calls that every then-active witness saw; ``None`` without calls."""
    gaps: int


class SearchHit(msgspec.Struct):
    """Where search words stand in a session."""

    at: str | None
    kind: str
    """``prompt``, ``answer``, ``thinking``, ``tool_input`` or ``tool_result``."""
    agent_id: str | None
    """The subagent in whose conversation it is."""
    excerpt: str
    """The words with what is around them, on one line."""
    matches: list[tuple[int, int]]
    """The characters of the excerpt that matched, from and up to."""
    tool_use_id: str | None = None


class SessionRow(msgspec.Struct):
    """One session as lists show it."""

    session_id: str
    project: str | None
    cwd: str | None
    title: str | None
    started_at: str | None
    last_at: str | None
    ended_at: str | None
    live: bool
    """An event arrived within the last 10 minutes and no end is on record."""
    prompts: int
    tool_calls: int
    failures: int
    subagents: int
    cost_usd: str | None
    """US dollars as a decimal: what the session's requests add up to, as far as they have a price."""
    cost_basis: str | None
    """``reported`` when the client logged it, ``computed`` from usage and a dated price; ``None`` when unknown."""
    client_cost_usd: str | None
    """The client's own total, which counts what transcripts leave out; ``None`` where it wrote none."""
    models: list[str]
    git_branch: str | None
    user: str | None
    host: str | None
    run_id: str | None
    version: str | None
    permission_modes: list[str]
    witnesses: list[str]
    coverage: Coverage
    resume: str | None
    """Command line that resumes the session in its folder; none where its id is none that an agent gives."""
    resume_anywhere: str | None
    """The same with the change to its folder before, quoted for a shell."""
    hits: list[SearchHit] = []
    """With search words, where some of them stand, the newest first."""


class CallRow(msgspec.Struct):
    """One tool call, joined from all its witnesses."""

    tool_use_id: str
    session_id: str | None
    prompt_id: str | None
    agent_id: str | None
    tool: str | None
    mcp_server: str | None
    subject: str | None
    """What it was about in one line: a path, a command, a pattern, an address."""
    started_at: str | None
    ended_at: str | None
    duration_ms: int | None
    duration_basis: str | None
    """``reported`` by the client, or ``computed`` from the times of two events."""
    outcome: Outcome
    outcome_by: str | None
    """``user``, ``hook`` or ``rule`` for a denied call."""
    permission: str | None
    """The decision that let it through or stopped it: ``allow``, ``ask``, ``deny``; ``None`` when unknown."""
    permission_source: str | None
    permission_mode: str | None
    witnesses: list[str]
    """Such as ``hook.pre``, ``hook.post``, ``transcript.use``, ``transcript.result``."""
    gap: str | None
    """Why a witness that was active did not see it, where one did not."""
    lines_added: int | None
    lines_removed: int | None
    error: str | None
    exit_code: int | None
    background: bool
    message_id: str | None
    previous_tool: str | None
    next_tool: str | None
    parallel: bool


class Evidence(msgspec.Struct):
    """One observation behind a fact: who saw it, when, and where the ledger holds it."""

    witness: str
    source: str
    at: str | None
    ledger_seq: int | None


class CallContext(msgspec.Struct):
    """In which context a call was made."""

    prompt: str | None
    slash_command: str | None
    framework_command: str | None
    """A SuperClaude command such as ``/sc:implement``."""
    persona: str | None
    flags: list[str]
    reasoning: str | None
    """What the agent said before the call, in the same message."""
    thinking: str | None


class FileOperation(msgspec.Struct):
    """What a call did to a file."""

    kind: str
    """``read``, ``edit``, ``write`` or ``create``."""
    path: str
    size: int | None
    """Bytes of the content read or written."""
    lines_added: int | None
    lines_removed: int | None


class GitOperation(msgspec.Struct):
    """What a call did with git, as the client reports it or as its command line says."""

    operation: str | None
    branch: str | None
    commit_id: str | None
    files_changed: int | None
    insertions: int | None
    deletions: int | None


class CallDetail(msgspec.Struct):
    """A call with its payloads."""

    call: CallRow
    context: CallContext
    input: Any
    response: Any
    result: str | None
    """What the model was shown."""
    diff: str | None
    """Unified diff of an edit or write, where the client reported one or it follows from the input."""
    stdout: str | None
    stderr: str | None
    evidence: list[Evidence]
    masked: dict[str, int]
    """Secrets masked in the payloads, by rule."""
    file_operation: FileOperation | None
    git_operation: GitOperation | None
    error_class: str | None
    """Class of the error, such as ``exit_status``, ``not_found`` or ``schema``."""


class TimelineItem(msgspec.Struct):
    """One row of a session's timeline. Exactly one of `call`, `gap` or `text`/`data` says the rest."""

    key: str
    """Stable identity; the same item keeps it when it is updated."""
    at: str | None
    order: int
    """Epoch milliseconds for sorting; ties are broken by `key`."""
    kind: ItemKind
    agent_id: str | None
    name: str
    """Event name, tool name, role, or gap class."""
    text: str | None
    call: CallRow | None
    data: dict[str, Any]


class Timeline(msgspec.Struct):
    """A page of a timeline, oldest first."""

    items: list[TimelineItem]
    total: int
    next: str | None
    """Cursor for the following page."""


class SessionDetail(msgspec.Struct):
    """One session with its agents."""

    session: SessionRow
    agents: list[dict[str, Any]]
    """Subagents: agent_id, agent_type, parent_tool_use_id, description, started_at, ended_at, tool_calls."""


class SessionList(msgspec.Struct):
    """A page of sessions, newest first."""

    sessions: list[SessionRow]
    total: int
    next: str | None
    only_in_names: list[str] = []
    """Search words without a letter or digit: only titles, ids and paths are searched for these."""
    contexts_lost: int = 0
    """Hits whose text the record no longer holds."""


class Gap(msgspec.Struct):
    """A call or a stretch of time that a witness did not see."""

    kind: str
    """Class of the gap, such as ``schema_rejected`` or ``hook_not_installed``."""
    session_id: str | None
    tool_use_id: str | None
    tool: str | None
    at: str | None
    missing: list[str]
    """The witnesses that were active and did not see it."""
    explanation: str


class Finding(msgspec.Struct):
    """Something that the recorder noticed about the record or about the witnesses."""

    rule: str
    """Such as ``witnesses_contradict``, ``registration_weakened`` or ``spool_tampered``."""
    severity: str
    at: str | None
    session_id: str | None
    tool_use_id: str | None
    what: str


class CoverageReport(msgspec.Struct):
    """The answer of ``wk coverage``."""

    tool_calls: int
    by_witness: dict[str, int | None]
    complete: float | None
    gaps: list[Gap]
    gap_classes: dict[str, int]
    findings: list[Finding]
    """What the recorder noticed, newest first: changed registrations, a cut spool, contradictions."""
    not_collected: list[dict[str, str]]
    """Hook events that are never registered, each with its reason."""
    unknown_events: dict[str, int]
    """Event or line types without a mapping, counted; they are on record untouched."""


class ImportProgress(msgspec.Struct):
    """How far the background import is."""

    running: bool
    files_total: int
    files_done: int
    bytes_total: int
    bytes_done: int
    skipped: int
    finished_at: str | None


class Status(msgspec.Struct):
    """State of the parts, for the page's header and the doctor."""

    version: str
    home: str
    sessions: int
    tool_calls: int
    ledger_entries: int
    last_event_at: str | None
    import_progress: ImportProgress
    parts: dict[str, str]
    """Each part of the daemon with ``up``, ``starting`` or ``down``."""
    hooks_installed: bool | None
    demo_available: bool
    """There is nothing on record, so the packaged demo may be offered."""


class LiveMessage(msgspec.Struct):
    """One message of the live stream (``/api/live``)."""

    type: Literal["hello", "sessions", "items", "status", "error"]
    sessions: list[SessionRow] = []
    session_id: str | None = None
    items: list[TimelineItem] = []
    """New or updated items of the session that the client subscribed to."""
    status: Status | None = None
    error: dict[str, str] | None = None
