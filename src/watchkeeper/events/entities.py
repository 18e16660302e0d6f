"""The entities of the record, and for each of its facts the one declared merge rule.

Times are epoch milliseconds in UTC, money is integer micro-dollars, sizes are bytes, tokens are counts. A *ref* is
``[source, path, size]``: the observation that carries the payload, the path to it inside, and its size in bytes.
"""

from __future__ import annotations

from watchkeeper.events.fields import Field

# Who saw a tool call, one bit each.
SEEN_HOOK_PRE = 1
SEEN_HOOK_POST = 2
SEEN_HOOK_FAILURE = 4
SEEN_HOOK_BATCH = 8
SEEN_TRANSCRIPT_USE = 16
SEEN_TRANSCRIPT_RESULT = 32
SEEN_HOOK_DENIED = 64
SEEN_OTEL = 128
SEEN_PROXY = 256

SEEN_NAMES: dict[int, str] = {
    SEEN_HOOK_PRE: "hook.pre",
    SEEN_HOOK_POST: "hook.post",
    SEEN_HOOK_FAILURE: "hook.failure",
    SEEN_HOOK_BATCH: "hook.batch",
    SEEN_HOOK_DENIED: "hook.denied",
    SEEN_TRANSCRIPT_USE: "transcript.use",
    SEEN_TRANSCRIPT_RESULT: "transcript.result",
    SEEN_OTEL: "otel",
    SEEN_PROXY: "proxy",
}
SEEN_HOOK = SEEN_HOOK_PRE | SEEN_HOOK_POST | SEEN_HOOK_FAILURE | SEEN_HOOK_BATCH | SEEN_HOOK_DENIED
SEEN_TRANSCRIPT = SEEN_TRANSCRIPT_USE | SEEN_TRANSCRIPT_RESULT

# Who saw a session, prompt, subagent: one bit per witness.
WITNESS_BITS: dict[str, int] = {"hook": 1, "transcript": 2, "otel": 4, "proxy": 8, "statusline": 16}

_SEEN = Field("bits", "bit set", "Which witnesses saw it.")
_SESSION = Field("least", "id", "The session it belongs to.")
_SESSIONS = Field("union", "ids", "Sessions whose transcripts hold it as their own; see events/ownership.py.")
_AGENT = Field("least", "id", "The subagent it belongs to; absent for the main agent.")

SESSION: dict[str, Field] = {
    "started_at": Field("min", "ms", "First sign of the session."),
    "last_at": Field("max", "ms", "Latest sign of the session."),
    "ended_at": Field("max", "ms", "Latest end that the client announced."),
    "end_reason": Field("latest", "word", "Reason that the client gave for the end."),
    "start_sources": Field("union", "words", "How it was started: startup, resume, clear, compact, fork."),
    "project_path": Field("least", "path", "Folder of the project, as the client names it."),
    "cwd": Field("least", "path", "First working folder."),
    "transcript_path": Field("least", "path", "The client's own session file."),
    "git_branch": Field("latest", "name", "Branch that was checked out last."),
    "versions": Field("union", "versions", "Versions of the client."),
    "models": Field("union", "ids", "Models that answered, as the provider names them."),
    "permission_modes": Field("union", "words", "Permission modes that were in force."),
    "entrypoint": Field("least", "word", "How the client was run: cli, sdk-cli, ..."),
    "user_name": Field("least", "name", "Who ran it."),
    "user_email": Field("least", "address", "Who ran it."),
    "host": Field("least", "name", "Machine it ran on."),
    "run_id": Field("least", "id", "Run that several sessions share (CLAUDE_RUN_ID)."),
    "title_custom": Field("latest", "text", "Title that the user gave."),
    "title_ai": Field("latest", "text", "Title that the client made up."),
    "title_summary": Field("latest", "text", "Summary line of old clients."),
    "messages_from": Field("min", "number", "Line of its file where its own messages begin."),
    "first_prompt": Field("least", "text", "Start of the first prompt."),
    "cost_micros": Field("max", "micro-dollars", "The client's own total."),
    "cost_incomplete": Field("max", "0 or 1", "The client met a model that it has no price for."),
    "client_usage": Field("latest", "object", "The client's own totals by model: tokens, searches, cost."),
    "client_lines_added": Field("max", "lines", "The client's own count of lines added."),
    "client_lines_removed": Field("max", "lines", "The client's own count of lines removed."),
    "forked_from": Field("least", "id", "Session that this one was forked from."),
    "hook_first_at": Field("min", "ms", "First hook event."),
    "hook_last_at": Field("max", "ms", "Latest hook event."),
    "transcript_first_at": Field("min", "ms", "First transcript line."),
    "transcript_last_at": Field("max", "ms", "Latest transcript line."),
    "synthetic": Field("max", "0 or 1", "Made by the doctor; never listed."),
    "seen": _SEEN,
}

PROMPT: dict[str, Field] = {
    "session_id": _SESSION,
    "sessions": _SESSIONS,
    "prompt_id": Field("least", "id", "The client's id of the turn."),
    "at": Field("min", "ms", "When it was submitted."),
    "text": Field("least", "text", "Start of the prompt."),
    "ref": Field("least", "ref", "The whole prompt."),
    "origin": Field("least", "word", "Who or what wrote it: user, sdk, system, task-notification, ..."),
    "slash_command": Field("least", "name", "Slash command that was expanded."),
    "slash_arguments": Field("least", "text", "Its arguments."),
    "command_source": Field("least", "word", "Where the command is defined."),
    "framework_command": Field("least", "name", "SuperClaude command."),
    "persona": Field("least", "name", "SuperClaude persona."),
    "flags": Field("union", "words", "SuperClaude flags."),
    "seen": _SEEN,
}

CALL: dict[str, Field] = {
    "session_id": _SESSION,
    "sessions": _SESSIONS,
    "prompt_id": Field("least", "id", "Turn it belongs to."),
    "agent_id": _AGENT,
    "message_id": Field("least", "id", "API answer that asked for it."),
    "tool": Field("witnessed", "name", "Tool, as the client names it."),
    "mcp_server": Field("least", "name", "MCP server that offers the tool."),
    "cwd": Field("least", "path", "Working folder."),
    "permission_mode": Field("least", "word", "Permission mode in force."),
    "subject": Field("least", "text", "Path, command, pattern or address, cut to 300 characters."),
    "signature": Field("witnessed", "digest", "Digest of what counts in the input, to compare witnesses."),
    "input": Field("least", "ref", "The input."),
    "pre_at": Field("min", "ms", "PreToolUse."),
    "post_at": Field("min", "ms", "PostToolUse or PostToolUseFailure."),
    "batch_at": Field("min", "ms", "PostToolBatch."),
    "pre_clock": Field(
        "least", "[boot, ms]", "PreToolUse by the clock that counts from the machine's start."
    ),
    "post_clock": Field("least", "[boot, ms]", "The result event by the same clock."),
    "asked_at": Field("min", "ms", "The model asked (transcript)."),
    "answered_at": Field("min", "ms", "The model got the result (transcript)."),
    "duration_ms": Field("least", "ms", "Duration as the client reports it."),
    "response": Field("least", "ref", "Structured response of the tool."),
    "result": Field("least", "ref", "What the model was shown."),
    "error": Field("least", "text", "Error text, cut to 500 characters."),
    "failed": Field("witnessed", "0 or 1", "It ended in an error."),
    "interrupted": Field("max", "0 or 1", "It was stopped while it ran."),
    "denied": Field("least", "word", "Who denied it: user, hook, rule, classifier."),
    "rejected": Field("max", "0 or 1", "The client refused the input before running anything."),
    "background": Field("max", "0 or 1", "It went on in the background after its result."),
    "exit_code": Field("least", "number", "Exit status of the command."),
    "lines_added": Field("least", "lines", "Lines that an edit or write added."),
    "lines_removed": Field("least", "lines", "Lines that an edit or write removed."),
    "file_path": Field("least", "path", "File that it worked on."),
    "file_size": Field("least", "bytes", "Size of the content read or written."),
    "file_created": Field("max", "0 or 1", "The file did not exist before."),
    "git": Field("least", "object", "Git operation that the client reports."),
    "git_verb": Field(
        "least", "word", "Git command on the command line; of several the one that changes most."
    ),
    "effort": Field("least", "word", "Reasoning effort in force."),
    "evidence": Field("union", "[bit, source, ms]", "The observations behind this call."),
    "seen": _SEEN,
}

REQUEST: dict[str, Field] = {
    "session_id": _SESSION,
    "sessions": _SESSIONS,
    "agent_id": _AGENT,
    "request_id": Field("least", "id", "The provider's id of the request."),
    "at": Field("min", "ms", "First line of the answer."),
    "last_at": Field("max", "ms", "Last line of the answer."),
    "model": Field("least", "id", "Model, as the provider names it."),
    "input_tokens": Field("max", "tokens", "Input that no cache held."),
    "output_tokens": Field("max", "tokens", "Output, thinking included."),
    "cache_write_tokens": Field("max", "tokens", "Input written to the cache."),
    "cache_write_5m_tokens": Field("max", "tokens", "Of these, for 5 minutes."),
    "cache_write_1h_tokens": Field("max", "tokens", "Of these, for 1 hour."),
    "cache_read_tokens": Field("max", "tokens", "Input read from the cache."),
    "web_searches": Field("max", "count", "Searches that the provider ran."),
    "reported_micros": Field("max", "micro-dollars", "Cost that an old client wrote on the line."),
    "service_tier": Field("least", "word", "standard, priority or batch."),
    "speed": Field("least", "word", "standard or fast."),
    "region": Field("least", "word", "inference_geo of the answer."),
    "stop_reason": Field("latest", "word", "Why the model stopped."),
    "branch": Field("least", "name", "Branch that was checked out."),
    "skill": Field("least", "name", "Skill that the client charges the request to."),
    "mcp_server": Field("least", "name", "MCP server that the client charges the request to."),
    "sidechain": Field("min", "0 or 1", "Made by a subagent."),
    "nested": Field("min", "0 or 1", "Its lines survive only inside a parent's progress lines."),
    "synthetic": Field("max", "0 or 1", "Written by the client itself; no request was made."),
    "replay": Field(
        "min", "0 or 1", "Seen only in the file of an aside, which repeats the main agent's messages."
    ),
    "seen": _SEEN,
}

MESSAGE: dict[str, Field] = {
    "session_id": _SESSION,
    "sessions": _SESSIONS,
    "agent_id": _AGENT,
    "message_id": Field("least", "id", "API answer it is part of."),
    "at": Field("min", "ms", "When it was written."),
    "role": Field("least", "word", "assistant or user."),
    "kind": Field("least", "word", "text or thinking."),
    "text": Field("least", "text", "Start of it, cut to 2,000 characters."),
    "ref": Field("least", "ref", "The whole text."),
    "seen": _SEEN,
}

EVENT: dict[str, Field] = {
    "session_id": _SESSION,
    "sessions": _SESSIONS,
    "agent_id": _AGENT,
    "prompt_id": Field("least", "id", "Turn it belongs to."),
    "at": Field("min", "ms", "When it happened."),
    "name": Field("least", "name", "Kind of event, as its witness names it."),
    "known": Field("max", "0 or 1", "The kind is one that this version understands."),
    "text": Field("least", "text", "What it says, cut to 500 characters."),
    "data": Field("least", "object", "Its own fields, where they are small."),
    "ref": Field("least", "ref", "The observation."),
    "seen": _SEEN,
}

SUBAGENT: dict[str, Field] = {
    "session_id": _SESSION,
    "sessions": _SESSIONS,
    "agent_type": Field("least", "name", "Kind of agent."),
    "description": Field("least", "text", "What it was asked, in short."),
    "parent_tool_use_id": Field("least", "id", "Call that started it."),
    "parent_agent_id": Field("least", "id", "Agent that started it; absent for the main agent."),
    "started_at": Field("min", "ms", "First sign of it."),
    "ended_at": Field("max", "ms", "Its end, as announced."),
    "last_at": Field("max", "ms", "Latest sign of it."),
    "transcript_path": Field("least", "path", "Its own session file."),
    "model": Field("least", "id", "Model it was given."),
    "last_message": Field("least", "text", "Its answer, cut to 500 characters."),
    "seen": _SEEN,
}

PERMISSION: dict[str, Field] = {
    "session_id": _SESSION,
    "agent_id": _AGENT,
    "prompt_id": Field("least", "id", "Turn it belongs to."),
    "at": Field("min", "ms", "When a person was asked."),
    "tool": Field("least", "name", "Tool that wanted permission."),
    "signature": Field("least", "digest", "Digest of the input, to find the call."),
}

DECISION: dict[str, Field] = {
    "at": Field("min", "ms", "When the decider answered."),
    "verdict": Field("least", "word", "none, allow, ask, deny, rewrite, unreachable, timeout or malformed."),
    "latency_us": Field("least", "microseconds", "How long the hook waited for it."),
}

FINDING: dict[str, Field] = {
    "session_id": _SESSION,
    "tool_use_id": Field("least", "id", "Call that it is about."),
    "at": Field("min", "ms", "When it came to light."),
    "rule": Field("least", "name", "Rule that found it."),
    "severity": Field("least", "word", "low, medium, high or critical."),
    "what": Field("least", "text", "What happened, why it matters, what to do."),
}

ENTITIES: dict[str, dict[str, Field]] = {
    "session": SESSION,
    "prompt": PROMPT,
    "call": CALL,
    "request": REQUEST,
    "message": MESSAGE,
    "event": EVENT,
    "subagent": SUBAGENT,
    "permission": PERMISSION,
    "decision": DECISION,
    "finding": FINDING,
}
"""Every entity with its fields; a fact outside this table cannot be merged and fails the tests."""
