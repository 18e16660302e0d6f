"""Laws of a move: rewriting goes back to the byte, touches nothing but the line's own folder, and survives a crash."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_folder import FIRST, make_sessions, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.errors import NotFoundError
from watchkeeper.sources.claude_code.migration.folders import change_of
from watchkeeper.sources.claude_code.migration.journal import find_journal
from watchkeeper.sources.claude_code.migration.moving import carry_out
from watchkeeper.sources.claude_code.migration.planning import make_plan
from watchkeeper.sources.claude_code.migration.rewriting import LineRewriter, apply, fork_line, inverse, stamp
from watchkeeper.sources.claude_code.migration.undoing import undo

OLD, NEW = '/c/projects/-hömé-"app"/1/', "/c/projects/-srv-new\\place/1/"
REWRITER = LineRewriter(OLD, NEW)

texts = st.sampled_from(
    [OLD, OLD + "out.txt", "see " + OLD + "a and " + OLD + "b", "/c/projects/-other/", ""]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["cwd", "text", "{"]), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(["cwd", "message", "type", "content"]), values, max_size=5)


def replaced(value: Any) -> Any:
    """Return a value with the old place spelt as the new one, by another way than the program's."""
    if isinstance(value, str):
        return NEW.join(value.split(OLD))
    if isinstance(value, list):
        return [replaced(inner) for inner in value]
    return {key: replaced(inner) for key, inner in value.items()} if isinstance(value, dict) else value


@given(body=bodies, escaped=st.booleans(), spaces=st.booleans())
def test_a_rewritten_line_goes_back_to_the_byte(body: dict[str, Any], escaped: bool, spaces: bool) -> None:
    """Whatever a line holds and however it is written."""
    separators = (", ", " : ") if spaces else (",", ":")
    line = json.dumps(body, ensure_ascii=escaped, separators=separators).encode()
    edits = REWRITER.edits(line)
    assert apply(apply(line, edits), inverse(edits)) == line


@given(body=bodies)
def test_only_the_place_of_the_own_files_changes(body: dict[str, Any]) -> None:
    """It changes wherever it stands, and nothing else does."""
    line = json.dumps(body, ensure_ascii=False).encode()
    assert json.loads(apply(line, REWRITER.edits(line))) == replaced(body)


@given(data=st.binary(max_size=200))
def test_any_bytes_go_back(data: bytes) -> None:
    """Also those that are no JSON."""
    noise = data + json.dumps(OLD, ensure_ascii=False).encode() + data
    edits = REWRITER.edits(noise)
    assert apply(apply(noise, edits), inverse(edits)) == noise


@given(body=bodies)
def test_a_forked_line_says_where_it_comes_from_and_keeps_the_rest(body: dict[str, Any]) -> None:
    """It is the same line under another session, with its origin."""
    line = json.dumps(body | {"type": "user", "uuid": "u", "sessionId": "old-id"}).encode()
    made = fork_line(line, "old-id", "new-id", LineRewriter())
    assert made is not None
    forked = json.loads(made)
    assert forked.pop("forkedFrom") == {"sessionId": "old-id", "messageUuid": "u"}
    assert forked == body | {"type": "user", "uuid": "u", "sessionId": "new-id"}


@contextmanager
def world() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wk-move-") as name:
        base = Path(name)
        for folder in ("old", "new", "c"):
            (base / folder).mkdir()
        make_sessions(base / "c", base / "old")
        yield base


def dying(base: Path, kind: str, steps: int) -> bool:
    """Do it in a process that is killed at a step that touches the disk; tell whether it came to the end before."""
    child = os.fork()
    if child == 0:
        left = steps

        def counted(call: Any) -> Any:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return call(*arguments, **options)

            return wrapper

        for name in ("fsync", "link", "unlink", "rmdir", "mkdir", "utime"):
            setattr(os, name, counted(getattr(os, name)))
        plan = make_plan(kind, change_of(str(base / "old"), str(base / "new")), [base / "c"], {})
        carry_out(plan, base / "journals")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(["move", "fork"]), steps=st.integers(0, 120))
def test_a_killed_move_is_undone_to_the_byte(kind: str, steps: int) -> None:
    """Wherever it died: no file is lost, doubled or changed, with mode and time."""
    with world() as base:
        before = snapshot(base / "c")
        dying(base, kind, steps)
        try:
            assert undo(find_journal(base / "journals", None)).kept == []
        except NotFoundError:
            assert steps < 4
        assert snapshot(base / "c") == before


def test_a_finished_move_is_undone_to_the_byte() -> None:
    """The whole way there, by a process that nothing disturbs, and back."""
    for kind in ("move", "fork"):
        with world() as base:
            before = snapshot(base / "c")
            assert dying(base, kind, 10_000)
            assert snapshot(base / "c") != before
            undo(find_journal(base / "journals", None))
            assert snapshot(base / "c") == before


@settings(deadline=None, max_examples=8)
@given(added=st.lists(st.sampled_from([NEW, "/else"]), max_size=3))
def test_what_was_written_since_goes_back_too(added: list[str]) -> None:
    """A session that went on in the new folder loses nothing by an undo."""
    with world() as base:
        before = snapshot(base / "c")
        plan = make_plan("move", change_of(str(base / "old"), str(base / "new")), [base / "c"], {}, FIRST)
        carry_out(plan, base / "journals")
        moved = plan.sessions[0].files[0][1]
        extra = [json.dumps({"cwd": str(base / "new"), "text": text}) + "\n" for text in added]
        with moved.open("a") as stream:
            stream.writelines(extra)
        result = undo(find_journal(base / "journals", None))
        after = snapshot(base / "c")
        name = next(key for key in before if key.endswith(f"{FIRST}.jsonl"))
        back = stamp(FIRST, str(base / "old")) if added else b""
        assert (result.kept, bool(result.continued)) == ([], bool(added))
        assert after[name][2] == before[name][2] + "".join(extra).encode() + back
        assert {key: value for key, value in after.items() if key != name} == {
            key: value for key, value in before.items() if key != name
        }
