"""Odd transcripts, one case each: read right, or skipped with file, line and reason, and nothing else is lost.

Every case stands beside two sound sessions, one read before and one after it, and goes through the real import.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from usage_answers import indexed_usage, scanned_usage

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.settings import Settings

SESSION = "11111111-2222-4333-8444-555555555555"
FILE = f"-home-ada/{SESSION}.jsonl"
SOUND = (1000, 2000, 2)
"""Input, output and number of the requests of the two sound sessions."""


def line(**fields: Any) -> dict[str, Any]:
    """Return a line of the session with the envelope that all lines share; ``None`` leaves a field out."""
    envelope = {
        "sessionId": SESSION,
        "timestamp": "2026-01-05T10:00:00.000Z",
        "cwd": "/home/ada",
        "version": "2.1.17",
        "uuid": f"uuid-{json.dumps(fields, sort_keys=True, default=str)[:60]}",
        "isSidechain": False,
    }
    return {
        name: value
        for name, value in (envelope | fields).items()
        if value is not None or name == "parentUuid"
    }


def answer(key: str | None = "m1", input_tokens: Any = 10, output: Any = 20, **fields: Any) -> dict[str, Any]:
    """Return a line of an API answer."""
    message = {
        "id": key,
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": "an answer"}],
        "usage": {"input_tokens": input_tokens, "output_tokens": output, **fields.pop("usage", {})},
    } | fields.pop("message", {})
    message = {name: value for name, value in message.items() if value is not None}
    return line(**({"type": "assistant", "message": message, "requestId": f"req-{key}"} | fields))


def progress(nested: dict[str, Any], agent: str = "a1") -> dict[str, Any]:
    """Return a progress line that repeats a subagent's line."""
    kept = {
        name: nested[name] for name in ("type", "message", "requestId", "uuid", "timestamp") if name in nested
    }
    data = {"type": "agent_progress", "message": kept, "agentId": agent, "prompt": "look"}
    return line(type="progress", data=data, parentToolUseID="toolu_task", uuid=f"p-{nested['uuid']}")


def text(*lines: dict[str, Any], separators: tuple[str, str] = (",", ":")) -> bytes:
    """Return lines as a file's bytes."""
    return b"".join(json.dumps(item, separators=separators).encode() + b"\n" for item in lines)


def raw(item: dict[str, Any]) -> bytes:
    """Return one line without its line end."""
    return text(item)[:-1]


@dataclass(frozen=True)
class Case:
    """A transcript tree and what is to come out of it.

    Attributes:
        files: By place below ``projects``, the bytes.
        usage: Input tokens, output tokens and number of requests.
        skipped: Line number and a part of the reason of everything that is left out, all in the first file.
        rows: Further queries and the rows they give.
    """

    files: dict[str, bytes]
    usage: tuple[int, int, int] = (10, 20, 1)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)


def only(*lines: dict[str, Any]) -> dict[str, bytes]:
    return {FILE: text(*lines)}


AGENT = f"-home-ada/{SESSION}/subagents/agent-a1.jsonl"
OTHER = "-home-ada/00000000-0000-4000-8000-000000000000.jsonl"
SIDE = {"isSidechain": True, "agentId": "a1"}
NESTING = b'{"x":' * 3000 + b"1" + b"}" * 3000
DEEP = raw(answer()).replace(b'"an answer"', b'"an answer","deep":' + NESTING)
LABELS = (
    f"SELECT request_key, agent_id, sidechain, nested, partial FROM requests WHERE session_id = '{SESSION}'"
)

CASES: dict[str, Case] = {
    "several lines repeat one answer, the last with most output": Case(
        only(answer(output=1), answer(output=7, uuid="b"), answer(output=20, uuid="c"))
    ),
    "the final line comes before a partial one": Case(
        only(answer(output=300), answer(output=1, uuid="b")), (10, 300, 1)
    ),
    "duplicates without a request id": Case(
        only(answer(requestId=None), answer(requestId=None, uuid="b")), (10, 20, 1)
    ),
    "duplicates of which one lacks the request id": Case(only(answer(), answer(requestId=None, uuid="b"))),
    "answers without a message id": Case(
        only(
            answer(None, requestId="r1"), answer(None, requestId="r1", uuid="b"), answer(None, requestId="r2")
        ),
        (20, 40, 2),
    ),
    "answers without message and request id": Case(
        only(answer(None, requestId=None, uuid="a"), answer(None, requestId=None, uuid="b")), (20, 40, 2)
    ),
    "answers without any id": Case(
        only(answer(None, requestId=None, uuid=None), answer(None, requestId=None, uuid=None)), (20, 40, 2)
    ),
    "the same answer in two files": Case({FILE: text(answer()), OTHER: text(answer(sessionId=None))}),
    "blanks after colons and commas": Case({FILE: text(answer(), separators=(", ", ": "))}),
    "a byte order mark": Case({FILE: b"\xef\xbb\xbf" + text(answer())}),
    "line ends of Windows": Case({FILE: text(answer(), answer("m2")).replace(b"\n", b"\r\n")}, (20, 40, 2)),
    "padding of NUL bytes": Case(
        {FILE: text(answer()) + b"\0" * 4096 + text(answer("m2")) + b"\0" * 512}, (20, 40, 2)
    ),
    "no line end at the end": Case({FILE: text(answer()) + raw(answer("m2"))}, (20, 40, 2)),
    "invalid UTF-8 in a text": Case({FILE: text(answer()).replace(b"an answer", b"an \xff\xfe answer")}),
    "UTF-8 cut within a character": Case({FILE: text(answer()).replace(b"an answer", b"an \xe2\x82 answer")}),
    "a lone surrogate in a text": Case({FILE: text(answer()).replace(b"an answer", rb"an \ud83d answer")}),
    "a control character in a text": Case({FILE: text(answer()).replace(b"an answer", b"an \x01\t answer")}),
    "null counts": Case(
        only(answer(usage={"cache_creation_input_tokens": None, "cache_read_input_tokens": None})),
        rows={
            f"SELECT cache_write_tokens, cache_read_tokens FROM requests WHERE session_id = '{SESSION}'": [
                (None, None)
            ]
        },
    ),
    "counts that are floats": Case(only(answer(input_tokens=10.0, output=20.0))),
    "counts that are negative, or no numbers": Case(
        only(answer(), answer("m2", input_tokens=-5, output="many"), answer("m3", input_tokens=True)),
        (10, 40, 3),
    ),
    "counts that no machine holds": Case(
        {FILE: text(answer()) + text(answer("m2")).replace(b":20", b":" + b"9" * 400)}, (20, 20, 2)
    ),
    "no usage": Case(only(answer(), answer("m2", message={"usage": None})), (10, 20, 2)),
    "no time": Case(only(answer(timestamp=None))),
    "times that are none": Case(
        only(
            answer(timestamp="yesterday"),
            answer("m2", timestamp=[1]),
            answer("m3", timestamp="9999999-01-01"),
        ),
        (30, 60, 3),
    ),
    "a time in epoch milliseconds": Case(
        only(answer(timestamp=1767607200000)),
        rows={f"SELECT at FROM requests WHERE session_id = '{SESSION}'": [(1767607200000,)]},
    ),
    "a time with a zone of its own": Case(
        only(answer(timestamp="2026-01-05T15:30:00+05:30")),
        rows={f"SELECT at FROM requests WHERE session_id = '{SESSION}'": [(1767607200000,)]},
    ),
    "no session id: the file's name says it": Case(
        only(answer(sessionId=None)),
        rows={f"SELECT count(*) FROM requests WHERE session_id = '{SESSION}'": [(1,)]},
    ),
    "the old form without a type, with its cost": Case(
        only(answer(type=None, uuid=None, costUSD=0.0123456)),
        rows={
            f"SELECT reported_micros, cost_micros, cost_basis FROM requests WHERE session_id = '{SESSION}'": [
                (12346, 12346, "reported")
            ]
        },
    ),
    "what the client wrote itself is no request": Case(
        only(answer(), answer("m2", message={"model": "<synthetic>"})),
        rows={"SELECT request_key FROM requests WHERE synthetic": [("m2",)]},
    ),
    "a subagent beside the session (2.0)": Case(
        {"-home-ada/agent-a1.jsonl": text(answer(**SIDE)), FILE: text(answer("m2"))},
        (20, 40, 2),
        rows={f"{LABELS} ORDER BY 1": [("m1", "a1", 1, 0, 1), ("m2", None, 0, 0, 1)]},
    ),
    "a subagent below the session (2.1)": Case(
        {AGENT: text(answer(**SIDE)), FILE: text(answer("m2"))},
        (20, 40, 2),
        rows={f"{LABELS} ORDER BY 1": [("m1", "a1", 1, 0, 1), ("m2", None, 0, 0, 1)]},
    ),
    "a subagent of a workflow": Case(
        {
            AGENT.replace("agent-a1", "workflows/wf1/agent-a1"): text(answer(**SIDE)),
            AGENT.replace("agent-a1", "workflows/wf1/journal"): text(answer("journal")),
        }
    ),
    "a subagent within the session (1.x)": Case(
        only(
            line(
                type="user", isSidechain=True, parentUuid=None, uuid="root", message={"content": "look\nhere"}
            ),
            answer(isSidechain=True, parentUuid="root"),
            answer("m2"),
        ),
        (20, 40, 2),
        rows={
            f"{LABELS} ORDER BY 1": [("m1", None, 1, 0, 1), ("m2", None, 0, 0, 1)],
            f"SELECT agent_id, description FROM subagents WHERE session_id = '{SESSION}'": [
                ("inline-root", "look")
            ],
            f"SELECT count(*) FROM prompts WHERE session_id = '{SESSION}'": [(0,)],
        },
    ),
    "an answer that survives only in a parent's progress lines": Case(
        only(progress(answer()), progress(answer(uuid="b"))),
        rows={LABELS: [("m1", "a1", 1, 1, 1)]},
    ),
    "progress lines repeat an early part of an answer": Case(
        {FILE: text(progress(answer(output=20))), AGENT: text(answer(output=320, **SIDE))},
        (10, 320, 1),
        rows={LABELS: [("m1", "a1", 1, 0, 1)]},
    ),
    "an aside repeats the parent's answer": Case(
        {
            FILE: text(answer(message={"stop_reason": "end_turn"})),
            AGENT.replace("agent-a1", "agent-aside_question-1"): text(
                answer(requestId="other", isSidechain=True, agentId="aside_question-1")
            ),
        },
        rows={LABELS: [("m1", None, 0, 0, 0)], "SELECT count(*) FROM requests WHERE replay": [(0,)]},
    ),
    "an aside whose parent is gone was paid for": Case(
        {
            AGENT.replace("agent-a1", "agent-aside_question-1"): text(
                answer(isSidechain=True, agentId="aside_question-1")
            )
        },
        rows={"SELECT request_key FROM requests WHERE replay": [("m1",)]},
    ),
    "an aside's own answer beside what it repeats": Case(
        {
            FILE: text(answer(message={"stop_reason": "end_turn"})),
            AGENT.replace("agent-a1", "agent-aside_question-1"): text(
                answer(requestId="other", isSidechain=True, agentId="aside_question-1"),
                answer("m2", isSidechain=True, agentId="aside_question-1"),
            ),
        },
        (20, 40, 2),
    ),
    "a marked fork copies what came before": Case(
        {
            FILE: text(answer()),
            OTHER: text(
                answer(sessionId=OTHER[10:46], forkedFrom={"sessionId": SESSION, "messageUuid": "x"}),
                answer("m2", sessionId=OTHER[10:46]),
            ),
        },
        (20, 40, 2),
        rows={
            "SELECT session_id FROM requests WHERE request_key = 'm1'": [(SESSION,)],
            f"SELECT forked_from FROM sessions WHERE session_id = '{OTHER[10:46]}'": [(SESSION,)],
        },
    ),
    "a fork of which only answers are marked, whose origin goes on": Case(
        {
            FILE: text(
                line(type="user", uuid="p1", message={"role": "user", "content": "begin"}),
                answer(),
                answer("m3", timestamp="2026-01-05T15:00:00.000Z"),
            ),
            OTHER: text(
                line(
                    type="user",
                    uuid="p1",
                    message={"role": "user", "content": "begin"},
                    sessionId=OTHER[10:46],
                ),
                answer(sessionId=OTHER[10:46], requestSessionId=SESSION),
                answer("m2", sessionId=OTHER[10:46], timestamp="2026-01-05T12:00:00.000Z"),
                {"type": "relocated", "sessionId": OTHER[10:46], "relocatedCwd": "/home/ada"},
            ),
        },
        (30, 60, 3),
        rows={
            "SELECT request_key, session_id FROM requests WHERE request_key LIKE 'm%' ORDER BY 1": [
                ("m1", SESSION),
                ("m2", OTHER[10:46]),
                ("m3", SESSION),
            ],
            "SELECT session_id FROM prompts WHERE prompt_key = 'p1'": [(SESSION,)],
            f"SELECT forked_from FROM sessions WHERE session_id = '{OTHER[10:46]}'": [(SESSION,)],
            "SELECT count(*) FROM events WHERE name = 'relocated'": [(0,)],
        },
    ),
    "an unmarked copy by an old client that resumed": Case(
        {
            FILE: text(answer()),
            OTHER: text(
                answer(sessionId=OTHER[10:46]),
                answer("m2", sessionId=OTHER[10:46], timestamp="2026-01-05T12:00:00.000Z"),
            ),
        },
        (20, 40, 2),
        rows={"SELECT session_id FROM requests WHERE request_key = 'm1'": [(SESSION,)]},
    ),
    "an answer of which the client knows the end is no lower bound": Case(
        only(answer(message={"stop_reason": "end_turn"}), answer("m2")),
        (20, 40, 2),
        rows={f"{LABELS} ORDER BY 1": [("m1", None, 0, 0, 0), ("m2", None, 0, 0, 1)]},
    ),
    "the client's own totals: the largest of several": Case(
        only(
            answer(),
            *(
                line(
                    type="cost-state",
                    timestamp=None,
                    totalCostUSD=cost,
                    modelUsage={"m": {"inputTokens": tokens, "costUSD": cost}, "odd": 3},
                    hasUnknownModelCost=False,
                )
                for cost, tokens in ((0.5, 100), (0.75, 150), (0.25, 50))
            ),
        ),
        rows={
            f"SELECT cost_micros, client_usage FROM sessions WHERE session_id = '{SESSION}'": [
                (750_000, '{"m":{"cost_micros":750000,"input_tokens":150}}')
            ]
        },
    ),
    "a corrupt line": Case(
        {FILE: text(answer()) + b'{"type":"assistant","message":{"usage":{"inp\n' + text(answer("m2"))},
        (20, 40, 2),
        [(2, "not JSON")],
    ),
    "a last line that breaks off": Case(
        {FILE: text(answer()) + raw(answer("m2"))[:100]}, skipped=[(2, "breaks off")]
    ),
    "a line that breaks off with a whole one behind it": Case(
        {FILE: raw(answer("torn"))[:200] + raw(answer()) + b"\n"}, skipped=[(1, "breaks off")]
    ),
    "two objects on one line": Case({FILE: raw(answer()) + raw(answer("m2")) + b"\n"}, (20, 40, 2)),
    "two objects on a last line without an end": Case({FILE: raw(answer()) + raw(answer("m2"))}, (20, 40, 2)),
    "lines that are no objects": Case(
        {FILE: b'[1]\n"text"\nnull\n' + text(answer())},
        skipped=[(1, "JSON array"), (2, "JSON string"), (3, "JSON null")],
    ),
    "garbage": Case(
        {FILE: b"\x89PNG\r\n\x1a\n" + text(answer())}, skipped=[(1, "not JSON"), (2, "not JSON")]
    ),
    "blank lines": Case({FILE: b"\n\n  \n" + text(answer()) + b"\r\n"}),
    "a nesting of 3,000 levels": Case({FILE: DEEP + b"\n"}),
    "transcript text pasted into a prompt": Case(
        only(line(type="user", message={"role": "user", "content": raw(answer("pasted")).decode()}), answer())
    ),
    "transcript text in a tool's result": Case(
        only(
            line(
                type="user",
                message={
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": raw(answer("x")).decode()}
                    ]
                },
                toolUseResult={"stdout": raw(answer("pasted")).decode()},
            ),
            answer(),
        )
    ),
    "a tool's response that is a list or a bare text": Case(
        only(
            *(
                line(
                    type="user",
                    uuid=f"u{place}",
                    message={
                        "content": [{"type": "tool_result", "tool_use_id": f"t{place}", "content": "ok"}]
                    },
                    toolUseResult=response,
                )
                for place, response in enumerate(([{"type": "text", "text": "x"}], "Error: text", None, 7))
            ),
            answer(message={"content": [{"type": "tool_use", "id": "t0", "name": ["Bash"], "input": [1]}]}),
        ),
        rows={f"SELECT count(*) FROM calls WHERE session_id = '{SESSION}'": [(4,)]},
    ),
    "fields of any type": Case(
        {
            FILE: text(
                line(type={"a": 1}, message=[1], cwd=7, version=["2"], gitBranch={}),
                line(type="assistant", message="text", agentId=5),
                line(type="user", message={"content": [None, 3, {"type": "tool_result", "tool_use_id": 9}]}),
                line(type="progress", data=[]),
                line(type="system", subtype=4, content={"a": 1}),
                line(type="attachment", attachment="x"),
                line(type="cost-state", totalCostUSD="3", modelUsage=[1]),
                answer(cwd=None),
            )
        }
    ),
    "an unknown kind of line passes through": Case(
        only(line(type="never-seen", payload=1), answer()),
        rows={"SELECT known FROM events WHERE name = 'never-seen'": [(0,)]},
    ),
    "a file that holds only a summary": Case(
        {OTHER: text({"type": "summary", "summary": "A title", "leafUuid": "u"}), FILE: text(answer())},
        rows={f"SELECT title_summary FROM sessions WHERE session_id = '{OTHER[10:46]}'": [("A title",)]},
    ),
    "an empty file": Case({OTHER: b"", FILE: text(answer())}),
    "nothing but empty files": Case({FILE: b""}, (0, 0, 0)),
}


@dataclass
class Result:
    """What an import reported, and its index."""

    connection: apsw.Connection
    skipped: list[dict[str, Any]]
    settings: Settings

    def usage(self) -> tuple[int, int, int]:
        """Return input tokens, output tokens and number of requests."""
        query = "SELECT total(input_tokens), total(output_tokens), count(*) FROM requests"
        return tuple(map(int, next(self.connection.execute(f"{query} WHERE counted = 1"))))


@contextmanager
def imported(
    base: Path, files: dict[str, bytes], change: Callable[[Path], None] | None = None
) -> Iterator[Result]:
    """Write transcripts below an agent's folder and import them."""
    agent = base / "agent"
    sound = {
        "-first/aaaaaaaa.jsonl": text(answer("sound1", 500, 1000, sessionId="aaaaaaaa")),
        "-zlast/zzzzzzzz.jsonl": text(answer("sound2", 500, 1000, sessionId="zzzzzzzz")),
    }
    for place, content in (sound | files).items():
        path = agent / "projects" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if change is not None:
        change(agent / "projects")
    environment = dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(agent), "HOME": str(base)}
    settings = Settings(base / "wk", environment)
    report = catch_up(settings).to_json()
    connection = apsw.Connection(str(settings.places.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        yield Result(connection, report["skipped"], settings)
    finally:
        connection.close()


def beside_the_sound(usage: tuple[int, int, int]) -> tuple[int, int, int]:
    return usage[0] + SOUND[0], usage[1] + SOUND[1], usage[2] + SOUND[2]


@pytest.mark.parametrize("name", CASES)
def test_an_odd_transcript_is_read_right_or_skipped_by_name(tmp_path: Path, name: str) -> None:
    """Totals are exact, and exactly the lines that cannot be read are named, each with its reason."""
    case = CASES[name]
    with imported(tmp_path, case.files) as result:
        assert result.usage() == beside_the_sound(case.usage)
        place = next(iter(case.files))
        assert [(item["file"], item["line"]) for item in result.skipped] == [
            (place, number) for number, _ in case.skipped
        ]
        for item, (_, reason) in zip(result.skipped, case.skipped, strict=True):
            assert reason in item["reason"]
        for query, rows in case.rows.items():
            assert list(result.connection.execute(query)) == rows
        assert scanned_usage(result.settings, tmp_path / "scanned") == indexed_usage(result.settings)


def test_a_line_of_twenty_megabytes_is_read(tmp_path: Path) -> None:
    """The text of a huge tool result stays in the archive; its answer counts as any other."""
    huge = answer(message={"content": [{"type": "text", "text": "word " * (4 << 20)}]})
    with imported(tmp_path, {FILE: text(answer("m0"), huge, answer("m2"))}) as result:
        assert result.usage() == beside_the_sound((30, 60, 3))
        assert result.skipped == []


def test_a_line_beyond_the_limit_is_named_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 50 MB (here 1 MB) a line is passed over; the lines around it are read and keep their numbers."""
    from watchkeeper.pipeline import transcripts
    from watchkeeper.sources.claude_code.tail import TranscriptTail

    monkeypatch.setattr(transcripts, "TranscriptTail", lambda: TranscriptTail(maximum_line=1 << 20))
    huge = answer("huge", message={"content": [{"type": "text", "text": "x" * (2 << 20)}]})
    content = text(answer("m1"), huge, answer("m2")) + b"{broken\n"
    with imported(tmp_path, {FILE: content}) as result:
        assert result.usage() == beside_the_sound((20, 40, 2))
        assert [(item["line"], item["reason"][:24]) for item in result.skipped] == [
            (2, "the line is longer than "),
            (4, "not JSON: Expecting prop"),
        ]


def test_links_and_folders_that_are_no_transcripts_are_named(tmp_path: Path) -> None:
    """A loop of links, a dangling link, a folder named like a file, a pipe; whatever is a file is read."""

    def change(projects: Path) -> None:
        project = projects / "-home-ada"
        (project / "loop").symlink_to(projects)
        (project / "itself.jsonl").symlink_to(project / "itself.jsonl")
        (project / "dangling.jsonl").symlink_to(tmp_path / "nowhere")
        (project / "folder.jsonl").mkdir()
        os.mkfifo(project / "pipe.jsonl")

    with imported(tmp_path, {FILE: text(answer())}, change) as result:
        assert result.usage() == beside_the_sound((10, 20, 1))
        assert {Path(item["file"]).name: item["reason"] for item in result.skipped} == {
            "loop": "a link to a folder that is read already",
            "itself.jsonl": "Too many levels of symbolic links",
            "dangling.jsonl": "a link to nothing",
            "folder.jsonl": "not a regular file",
            "pipe.jsonl": "not a regular file",
        }


def test_a_file_that_two_links_reach_is_read_once(tmp_path: Path) -> None:
    """Also where lines have no ids that could tell the copies: the second way to it is named and passed over."""
    bare = answer(None, requestId=None, uuid=None, sessionId=None)

    def change(projects: Path) -> None:
        (projects / "-home-ada" / "again.jsonl").hardlink_to(projects / FILE)
        (projects / "-first" / "linked.jsonl").symlink_to(projects / FILE)

    with imported(tmp_path, {FILE: text(bare)}, change) as result:
        assert result.usage() == beside_the_sound((10, 20, 1))
        assert sorted(Path(item["file"]).name for item in result.skipped) == ["again.jsonl", "linked.jsonl"]
        assert {item["reason"] for item in result.skipped} == {"a link to a file that is read already"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """Permission denied is a reason like any other."""
    with imported(
        tmp_path, {OTHER: text(answer("closed")), FILE: text(answer())}, lambda at: (at / OTHER).chmod(0)
    ) as result:
        assert result.usage() == beside_the_sound((10, 20, 1))
        assert [item["reason"] for item in result.skipped] == ["Permission denied"]


def test_a_file_that_is_gone_or_shorter_when_its_turn_comes_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the reading the agent may remove a file, or begin it anew."""
    from watchkeeper.pipeline.transcripts import TranscriptIntake

    discover = TranscriptIntake.discover

    def and_then(intake: TranscriptIntake, folders: Any) -> int:
        queued = discover(intake, folders)
        projects = tmp_path / "agent" / "projects"
        (projects / OTHER).unlink()
        (projects / FILE).write_bytes(text(answer("m2")))
        return queued

    monkeypatch.setattr(TranscriptIntake, "discover", and_then)
    files = {OTHER: text(answer("gone")), FILE: text(answer("m1"), answer("m2"), answer("m3"))}
    with imported(tmp_path, files) as result:
        assert result.usage() == beside_the_sound((10, 20, 1))
        assert result.skipped[0]["reason"] == "No such file or directory"
        assert all(item["file"].endswith((OTHER, FILE)) for item in result.skipped)
