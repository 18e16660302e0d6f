"""What a move or fork would carry along or leave behind, said before anything is done.

Nothing here changes anything, and nothing leaves the machine: a remote's visibility is judged by its host alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchkeeper.redaction.engine import Redactor
from watchkeeper.sources.claude_code.migration.folders import live_process
from watchkeeper.sources.claude_code.migration.moving import Plan

BLOCK, WARN, NOTE = "block", "warn", "note"
_PLACES = 20
_SPARE_BYTES = 64 << 20
_RECENT_SECONDS = 120
_BATCH = 256 << 10
_MCP_TOOL = re.compile(rb'"name"\s*:\s*"mcp__([A-Za-z0-9_.-]+?)__')
_VARIABLE = re.compile(
    rb"(?:\$\{?|process\.env\.|os\.environ\[[^A-Z]{1,4}|getenv\([^A-Z]{1,4})([A-Z][A-Z0-9_]{2,60})(?![a-z])"
)
_IDENTITIES = (b'"uuid"', b'"requestId"', b'"id":"msg_', b'"id": "msg_')
_COMMON = frozenset({"HOME", "PATH", "PWD", "USER", "SHELL", "TMPDIR", "LANG", "EOF", "TERM", "BASH_SOURCE"})
_REMOTE = re.compile(r'\[remote "([^"]+)"\][^\[]*?\n\s*url\s*=\s*(\S+)')
_HOST = re.compile(r"(?:[a-z+]+://)?(?:[^@/\s]+@)?([A-Za-z0-9.-]+)")
_PUBLIC_HOSTS = frozenset({"github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht"})
_IGNORE_FILES = (".claudeignore", ".gitignore")
_SETTINGS_FILES = (".claude/settings.json", ".claude/settings.local.json")


@dataclass(frozen=True)
class AuditFinding:
    """One thing to know before going on.

    Attributes:
        rule: What kind of thing.
        severity: ``block`` (not without ``--force``), ``warn`` or ``note``.
        what: One sentence.
        count: How many.
        places: Where, the first of them: files, ``file:line``, or names.
        by_rule: For secrets, how many of which kind.
    """

    rule: str
    severity: str
    what: str
    count: int = 1
    places: tuple[str, ...] = ()
    by_rule: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        body = {
            "rule": self.rule,
            "severity": self.severity,
            "what": self.what,
            "count": self.count,
            "places": list(self.places),
        }
        return body | ({"by_rule": dict(self.by_rule)} if self.by_rule else {})


def audit(
    plan: Plan, config_dirs: Sequence[Path], environment: Mapping[str, str], redactor: Redactor
) -> list[AuditFinding]:
    """Return what to know, what blocks first."""
    old, new = _existing(plan.change.olds), Path(plan.change.new)
    scan = _scan(plan, redactor)
    found = [
        *_target(new),
        *_live(plan, config_dirs),
        *_space(plan),
        *_secrets(scan),
        *_old_paths(scan, plan),
        *_nameless(scan),
        *_servers(scan, new, config_dirs, plan),
        *_ignore_rules(old, new),
        *_variables(scan, environment, old, new),
        *_remote(old, new, secrets=bool(scan.secrets)),
        *_left(plan),
    ]
    return sorted(found, key=lambda finding: (BLOCK, WARN, NOTE).index(finding.severity))


def _existing(olds: Sequence[str]) -> Path | None:
    return next((Path(old) for old in olds if Path(old).is_dir()), None)


def _target(new: Path) -> Iterator[AuditFinding]:
    if not new.is_dir():
        what = "The target folder does not exist: the agent could not resume there."
        yield AuditFinding("target_missing", BLOCK, what, places=(str(new),))


def _live(plan: Plan, config_dirs: Sequence[Path]) -> Iterator[AuditFinding]:
    recent = []
    for item in plan.sessions:
        for config_dir in config_dirs:
            process = live_process(config_dir, item.session.session_id)
            if process is not None:
                lost = "what it writes from now on would be lost. End it first."
                later = "the copy holds what was written up to now."
                what = f"Process {process} runs this session; {later if plan.kind == 'fork' else lost}"
                severity = WARN if plan.kind == "fork" else BLOCK
                yield AuditFinding("session_live", severity, what, places=(item.session.session_id,))
        listed = any((config_dir / "sessions").is_dir() for config_dir in config_dirs)
        if not listed and time.time() - item.session.files[0].stat().st_mtime < _RECENT_SECONDS:
            recent.append(item.session.session_id)
    if recent:
        # Old clients keep no list of what runs.
        what = "Written to within the last two minutes: see that no agent runs there any more."
        yield AuditFinding("session_recent", WARN, what, len(recent), tuple(recent))


def _space(plan: Plan) -> Iterator[AuditFinding]:
    folder = next((item.session.folder for item in plan.sessions), None)
    if folder is None:
        return
    # A move needs room for one file at a time, a fork for all of them.
    largest = max(path.stat().st_size for item in plan.sessions for path, _ in item.files)
    needed = (plan.bytes if plan.kind == "fork" else largest) + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        what = f"{needed:,} bytes are needed and {free:,} are free."
        yield AuditFinding("disk_space", BLOCK, what, places=(str(folder),))


@dataclass
class _Scan:
    """What one reading of all files gives."""

    secrets: Counter[str] = field(default_factory=Counter)
    secret_places: list[str] = field(default_factory=list)
    old_paths: int = 0
    old_path_places: list[str] = field(default_factory=list)
    servers: Counter[str] = field(default_factory=Counter)
    variables: Counter[str] = field(default_factory=Counter)
    nameless: list[str] = field(default_factory=list)


def _scan(plan: Plan, redactor: Redactor) -> _Scan:
    scan = _Scan()
    olds = [json.dumps(old, ensure_ascii=False).encode()[1:-1] for old in plan.change.olds]
    for item in plan.sessions:
        for path, _ in item.files:
            place = path.relative_to(item.session.folder).as_posix()
            with path.open("rb") as stream:
                first = 1
                while lines := stream.readlines(_BATCH):
                    _scan_batch(lines, first, place, olds, redactor, scan)
                    first += len(lines)
    return scan


def _scan_batch(
    lines: list[bytes], first: int, place: str, olds: list[bytes], redactor: Redactor, scan: _Scan
) -> None:
    data = b"".join(lines)
    hits = redactor.redact(data).hits
    if hits:
        scan.secrets.update(hits)
        for number, line in enumerate(lines, first):
            if len(scan.secret_places) >= _PLACES:
                break
            names = redactor.redact(line).hits
            if names:
                scan.secret_places.append(f"{place}:{number} {', '.join(sorted(names))}")
    scan.servers.update(name.decode() for name in _MCP_TOOL.findall(data))
    scan.variables.update(name.decode() for name in _VARIABLE.findall(data))
    if b'"usage"' in data:
        scan.nameless += [
            f"{place}:{number}"
            for number, line in enumerate(lines, first)
            if b'"usage"' in line and not any(name in line for name in _IDENTITIES)
        ]
    if any(old in data for old in olds):
        for number, line in enumerate(lines, first):
            own = sum(line.count(b'"cwd":"' + old) for old in olds)
            if sum(line.count(old) for old in olds) > own:
                scan.old_paths += 1
                if len(scan.old_path_places) < _PLACES:
                    scan.old_path_places.append(f"{place}:{number}")


def _secrets(scan: _Scan) -> Iterator[AuditFinding]:
    if scan.secrets:
        total = sum(scan.secrets.values())
        what = (
            "The transcripts hold secrets. They stay in the agent's folder as they are; rotate what matters."
        )
        yield AuditFinding("secrets", WARN, what, total, tuple(scan.secret_places), dict(scan.secrets))


def _old_paths(scan: _Scan, plan: Plan) -> Iterator[AuditFinding]:
    if scan.old_paths:
        what = (
            f"Lines name {plan.change.olds[0]} in what was said and done. They stay as they are; the agent tells the"
            " model of its new working folder when it resumes."
        )
        yield AuditFinding("absolute_paths", NOTE, what, scan.old_paths, tuple(scan.old_path_places))


def _nameless(scan: _Scan) -> Iterator[AuditFinding]:
    if scan.nameless:
        what = "Requests without any id are known by their place only: the record will count them once more."
        yield AuditFinding("no_identity", WARN, what, len(scan.nameless), tuple(scan.nameless[:_PLACES]))


def _servers(scan: _Scan, new: Path, config_dirs: Sequence[Path], plan: Plan) -> Iterator[AuditFinding]:
    there = {_tool_name(name) for name in _servers_at(new, config_dirs)}
    missing = {
        name: count
        for name, count in scan.servers.items()
        if name not in there and not name.startswith("plugin_")
    }
    if missing:
        names = tuple(sorted(missing))
        what = f"MCP servers that the sessions used are not set up at the target: {', '.join(names)}."
        yield AuditFinding("mcp_missing", WARN, what, len(names), names)
    trusted = [
        old
        for old in plan.change.olds
        for body in _agent_files(config_dirs)
        if _project(body, old).get("allowedTools")
    ]
    if trusted:
        what = "Tools allowed for the old folder are not taken along: the agent asks again."
        yield AuditFinding("permissions_stay", NOTE, what, places=tuple(dict.fromkeys(trusted)))


def _servers_at(new: Path, config_dirs: Sequence[Path]) -> Iterator[str]:
    for path in (new / ".mcp.json", *(new / name for name in _SETTINGS_FILES)):
        yield from _names(read_object(path).get("mcpServers"))
    for config_dir in config_dirs:
        yield from _names(read_object(config_dir / "settings.json").get("mcpServers"))
    for body in _agent_files(config_dirs):
        yield from _names(body.get("mcpServers"))
        yield from _names(_project(body, str(new)).get("mcpServers"))


def _agent_files(config_dirs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for config_dir in config_dirs:
        yield read_object(config_dir / ".claude.json")
        if config_dir.name == ".claude":
            yield read_object(config_dir.parent / ".claude.json")


def _project(body: dict[str, Any], folder: str) -> dict[str, Any]:
    projects = body.get("projects")
    found = projects.get(folder) if isinstance(projects, dict) else None
    return found if isinstance(found, dict) else {}


def _names(servers: Any) -> list[str]:
    return [str(name) for name in servers] if isinstance(servers, dict) else []


def _tool_name(server: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", server)


def _ignore_rules(old: Path | None, new: Path) -> Iterator[AuditFinding]:
    if old is None:
        return
    for name in _IGNORE_FILES:
        gone = [line for line in _rules(old / name) if line not in set(_rules(new / name))]
        if gone:
            what = f"{name} of the target lacks rules that the old folder has."
            yield AuditFinding("ignore_rules", WARN, what, len(gone), tuple(gone[:_PLACES]))
    denied = [rule for name in _SETTINGS_FILES for rule in _denied(old / name)]
    there = {rule for name in _SETTINGS_FILES for rule in _denied(new / name)}
    gone = [rule for rule in dict.fromkeys(denied) if rule not in there]
    if gone:
        what = "The target's settings do not deny what the old folder's do."
        yield AuditFinding("deny_rules", WARN, what, len(gone), tuple(gone[:_PLACES]))


def _rules(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _denied(path: Path) -> list[str]:
    permissions = read_object(path).get("permissions")
    rules = permissions.get("deny") if isinstance(permissions, dict) else None
    return [str(rule) for rule in rules] if isinstance(rules, list) else []


def _variables(
    scan: _Scan, environment: Mapping[str, str], old: Path | None, new: Path
) -> Iterator[AuditFinding]:
    unset = sorted(name for name in scan.variables if name not in environment and name not in _COMMON)
    if unset:
        what = "The sessions name environment variables that are not set here."
        yield AuditFinding("environment", NOTE, what, len(unset), tuple(unset[:_PLACES]))
    files = [path.name for path in sorted(old.glob(".env*")) if path.is_file()] if old else []
    gone = [name for name in files if not (new / name).exists()]
    if gone:
        what = "Environment files of the old folder are missing at the target."
        yield AuditFinding("environment_files", NOTE, what, len(gone), tuple(gone))


def _remote(old: Path | None, new: Path, *, secrets: bool) -> Iterator[AuditFinding]:
    theirs = git_remotes(new)
    ours = git_remotes(old) if old is not None else {}
    public = {url for url in theirs.values() if _host(url) in _PUBLIC_HOSTS}
    if old is None or not public or public & set(ours.values()):
        return
    what = "The target's repository goes to a public host, the old one's did not: do not commit transcripts there."
    if secrets:
        what += " The transcripts hold secrets."
    yield AuditFinding("public_remote", WARN, what, len(public), tuple(sorted(map(without_password, public))))


def git_remotes(folder: Path) -> dict[str, str]:
    """Return the addresses of a repository's remotes by name, read from its configuration."""
    git = folder / ".git"
    if git.is_file():
        named = git.read_text(encoding="utf-8", errors="replace").strip().removeprefix("gitdir:").strip()
        git = (folder / named).resolve()
        git = git.parent.parent if git.parent.name == "worktrees" else git
    try:
        text = (git / "config").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return dict(_REMOTE.findall(text))


def without_password(url: str) -> str:
    """Return an address without the user and password in it."""
    return re.sub(r"//[^@/]*@", "//", url)


def _host(url: str) -> str:
    match = _HOST.match(url)
    return match.group(1).lower() if match else ""


def _left(plan: Plan) -> Iterator[AuditFinding]:
    if plan.left:
        places = tuple(f"{path}: {reason}" for path, reason in plan.left)
        what = "Some files stay where they are; nothing is ever overwritten."
        yield AuditFinding("left", WARN, what, len(places), places)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is none or it cannot be read."""
    try:
        body = json.loads(path.read_bytes()) if os.access(path, os.R_OK) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
