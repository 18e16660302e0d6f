"""Commands on a real store, run as users run them: JSON shapes, words, and what they do in bad times."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.settings import Places

SOURCES = Path(__file__).resolve().parents[2] / "src"
FIRST = "11111111-1111-4111-8111-111111111111"
SECOND = "22222222-2222-4222-8222-222222222222"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def wk(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``wk`` on the test's home."""
    env = {
        "HOME": str(home.parent),
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home.parent / ".claude"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        "TZ": "UTC",
        **environment,
    }
    command = [sys.executable, "-m", "watchkeeper.cli", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def answer(home: Path, *words: str, status: int = 0) -> Any:
    """Run ``wk ... --json`` and return its one document."""
    done = wk(home, "--json", *words)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


class Transcript:
    """Lines of a transcript as the agent writes them."""

    def __init__(self, session: str, day: str, cwd: str) -> None:
        self.session = session
        self.day = day
        self.cwd = cwd
        self.lines: list[dict[str, Any]] = []

    def add(self, kind: str, content: Any, **more: Any) -> None:
        number = len(self.lines)
        role = "assistant" if kind == "assistant" else "user"
        message: dict[str, Any] = {"role": role, "content": content}
        if role == "assistant":
            message |= {"id": f"msg-{self.session[:4]}-{number}", "model": "claude-test-1", "type": "message"}
        self.lines.append(
            {
                "type": kind,
                "uuid": f"{self.session[:8]}-{number:04}",
                "parentUuid": f"{self.session[:8]}-{number - 1:04}" if number else None,
                "sessionId": self.session,
                "timestamp": f"{self.day}T10:00:{number:02}.000Z",
                "cwd": self.cwd,
                "version": "2.1.330",
                "isSidechain": False,
                "userType": "external",
                "message": message,
                **more,
            }
        )

    def call(self, identity: str, tool: str, given: dict[str, Any], result: str, **more: Any) -> None:
        self.add("assistant", [{"type": "tool_use", "id": identity, "name": tool, "input": given}])
        block = {"type": "tool_result", "tool_use_id": identity, "content": result, **more.pop("block", {})}
        self.add("user", [block], **more)

    def write(self, agent: Path, *, ending: str = "") -> Path:
        folder = agent / "projects" / "-test"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.session}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines) + ending)
        return path


@pytest.fixture
def agent(home: Path) -> Path:
    """The agent's folder with two sessions, one of them with hostile bytes and a line that is no JSON."""
    folder = home.parent / ".claude"
    first = Transcript(FIRST, "2026-11-01", "/code/app")
    first.add("user", f"please fix the parser {ESCAPE}")
    output = "\n".join(f"line {number}" for number in range(40)) + ESCAPE
    first.call(
        "toolu_bash", "Bash", {"command": "make test"}, output, toolUseResult={"stdout": output, "stderr": ""}
    )
    first.call(
        "toolu_edit",
        "Edit",
        {"file_path": "/code/app/a.py", "old_string": "old", "new_string": "new\nmore"},
        "The file was updated.",
        toolUseResult={"filePath": "/code/app/a.py", "oldString": "old", "newString": "new\nmore"},
    )
    first.call(
        "toolu_fail",
        "Bash",
        {"command": "false"},
        "Exit code 1",
        block={"is_error": True},
        toolUseResult="Error: Exit code 1",
    )
    first.write(folder, ending="{this is no JSON}\n")
    second = Transcript(SECOND, "2026-11-03", "/code/other")
    second.add("user", "write the manual")
    second.write(folder)
    return folder


def test_import_reports_files_lines_and_each_skipped_line_with_its_reason(home: Path, agent: Path) -> None:
    report = answer(home, "import")
    assert set(report) >= {"files", "lines", "observations", "skipped"}
    assert report["files"] == 2
    assert report["lines"] == 9
    assert report["observations"] > 0
    (skipped,) = report["skipped"]
    assert skipped["file"].endswith(f"{FIRST}.jsonl")
    assert skipped["line"] == 8
    assert skipped["reason"]
    again = answer(home, "import")
    assert (again["files"], again["lines"]) == (0, 0), "an import reads nothing twice"


def test_import_takes_paths_and_refuses_one_that_is_not_there(home: Path, agent: Path) -> None:
    elsewhere = home.parent / "backup" / "projects"
    elsewhere.parent.mkdir()
    shutil.move(agent / "projects", elsewhere)
    assert answer(home, "sessions")["sessions"] == []
    assert answer(home, "import", str(elsewhere))["files"] == 2
    assert len(answer(home, "sessions")["sessions"]) == 2
    done = wk(home, "import", str(home.parent / "missing"))
    assert done.returncode == 1
    assert str(home.parent / "missing") in done.stderr


def test_sessions_have_the_keys_of_the_contract_and_are_current_without_an_import(
    home: Path, agent: Path
) -> None:
    document = answer(home, "sessions")
    assert [row["session_id"] for row in document["sessions"]] == [SECOND, FIRST]
    row = document["sessions"][1]
    assert set(row) >= {
        "session_id",
        "project",
        "cwd",
        "title",
        "started_at",
        "last_at",
        "prompts",
        "tool_calls",
        "cost_usd",
        "resume",
    }
    assert row["project"] == "app"
    assert row["cwd"] == "/code/app"
    assert row["prompts"] == 1
    assert row["tool_calls"] == 3
    assert row["started_at"].startswith("2026-11-01T10:00:00")
    assert row["cost_usd"] is None, "unknown is not zero"
    assert f"claude --resume {FIRST}" in row["resume"]
    assert "stale_ms" not in document


def test_sessions_are_found_by_words_project_and_time(home: Path, agent: Path) -> None:
    def found(*words: str) -> list[str]:
        return [row["session_id"] for row in answer(home, "sessions", *words)["sessions"]]

    assert found("parser") == [FIRST]
    assert found("-n", "5", "--", "manual") == [SECOND]
    assert found("manual", "-n", "5") == [SECOND]
    assert found("--", "--json") == []
    assert found("-p", "other") == [SECOND]
    assert found("--since", "2026-11-02") == [SECOND]
    assert found("--since", "2026-11-01", "--until", "2026-11-01") == [FIRST]
    assert found("-n", "1") == [SECOND]


def test_the_list_for_people_is_aligned_harmless_and_names_resume_and_next_step(
    home: Path, agent: Path
) -> None:
    done = wk(home, "sessions", COLUMNS="100")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\\x1b]0;owned" in wk(home, "sessions", COLUMNS="160").stdout
    assert f"claude --resume {FIRST}" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"wk show {SECOND[:8]}")
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_an_empty_home_says_which_command_fills_it(home: Path) -> None:
    done = wk(home, "sessions")
    assert done.returncode == 0, done.stderr
    assert "wk install" in done.stdout
    assert answer(home, "sessions") == {"sessions": [], "total": 0, "next": None}


def test_show_takes_a_prefix_and_renders_each_tool_in_its_form(home: Path, agent: Path) -> None:
    done = wk(home, "show", FIRST[:6], COLUMNS="90")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "-old" in lines
    assert "+new" in lines
    assert "line 0" in lines
    assert "… 32 more lines" in lines
    assert "line 39" not in done.stdout
    assert any("✗ Bash" in line and "failed" in line for line in lines)
    assert "line 39" in wk(home, "show", FIRST, "--full").stdout


def test_show_as_json_is_the_whole_timeline(home: Path, agent: Path) -> None:
    document = answer(home, "show", FIRST)
    assert document["session"]["session_id"] == FIRST
    assert document["total"] == len(document["items"])
    calls = [item["call"]["tool_use_id"] for item in document["items"] if item["call"]]
    assert calls == ["toolu_bash", "toolu_edit", "toolu_fail"]


def test_show_one_call_in_full(home: Path, agent: Path) -> None:
    text = wk(home, "show", "--call", "toolu_bash").stdout
    assert "line 39" in text
    assert "\x1b" not in text
    document = answer(home, "show", FIRST, "--call", "toolu_bash")
    assert document["input"] == {"command": "make test"}
    assert document["evidence"]
    wrong = answer(home, "show", SECOND, "--call", "toolu_bash", status=1)
    assert wrong["error"]["code"] == "not_found"


def test_what_is_not_on_record_is_said_so(home: Path, agent: Path) -> None:
    done = wk(home, "show", "99999999")
    assert done.returncode == 1
    assert "wk sessions" in done.stderr
    assert done.stderr.count("\n") == 1


def test_coverage_has_the_keys_of_the_contract(home: Path, agent: Path) -> None:
    report = answer(home, "coverage")
    assert report["tool_calls"] == 3
    assert report["by_witness"] == {"hook": None, "transcript": 3, "otel": None, "proxy": None}
    assert report["complete"] == 1.0
    assert [gap["kind"] for gap in report["gaps"]] == ["hook_not_installed"]
    done = wk(home, "coverage", FIRST[:8])
    assert "hook not installed" in done.stdout
    assert "not active" in done.stdout


def test_hook_events_are_on_record_at_the_next_command(home: Path, agent: Path, packaged_hook: Path) -> None:
    wk(home, "sessions")
    payload = {
        "session_id": SECOND,
        "hook_event_name": "PreToolUse",
        "cwd": "/code/other",
        "tool_name": "Read",
        "tool_input": {"file_path": "/code/other/manual.md"},
        "tool_use_id": "toolu_hooked",
    }
    subprocess.run([packaged_hook, "--home", home], input=json.dumps(payload).encode(), check=True)
    document = answer(home, "show", SECOND, "--call", "toolu_hooked")
    assert document["call"]["witnesses"] == ["hook.pre"]
    assert answer(home, "coverage")["by_witness"]["hook"] == 1


def test_verify_has_the_keys_of_the_contract_and_names_its_anchor(home: Path, agent: Path) -> None:
    wk(home, "import")
    verdict = answer(home, "verify")
    assert verdict["ok"] is True
    assert verdict["entries"] > 0
    assert verdict["integrity"] == "intact"
    assert verdict["completeness"] in {"complete", "unknown"}
    assert verdict["first_bad"] is None
    assert verdict["anchor"] == "none"
    text = wk(home, "verify").stdout
    assert "self-signed" in text
    assert "tamper-proof" not in text


def test_a_changed_ledger_is_a_negative_answer(home: Path, agent: Path) -> None:
    wk(home, "import")
    segment = max(
        (Places(home).ledger).rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.chmod(0o600)
    segment.write_bytes(content)
    verdict = answer(home, "verify", status=1)
    assert verdict["ok"] is False
    assert wk(home, "verify").returncode == 1


def test_an_exported_bundle_is_checked_by_its_own_verifier_and_by_ours(home: Path, agent: Path) -> None:
    wk(home, "import")
    bundle = home.parent / "record.bundle"
    exported = answer(home, "verify", "--export", str(bundle))["exported"]
    alone = subprocess.run(
        [sys.executable, "-I", exported["verifier"], bundle, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stdout + alone.stderr
    ours = answer(home, "verify", str(bundle))
    assert ours["entries"] == json.loads(alone.stdout)["entries"] == exported["entries"]
    lines = bundle.read_bytes().splitlines(keepends=True)
    bundle.write_bytes(b"".join(lines[:-2]))
    assert answer(home, "verify", str(bundle), status=1)["ok"] is False


def test_rebuild_gives_equal_answers(home: Path, agent: Path) -> None:
    before = [answer(home, "show", FIRST), answer(home, "coverage"), answer(home, "sessions")]
    report = answer(home, "rebuild")
    assert report["sessions"] == 2
    assert report["tool_calls"] == 3
    assert answer(home, "sessions", "--rebuild")["total"] == 2
    assert [answer(home, "show", FIRST), answer(home, "coverage"), answer(home, "sessions")] == before


def test_a_damaged_database_is_one_line_with_its_remedy(home: Path, agent: Path) -> None:
    wk(home, "import")
    database = Places(home).database
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    database.write_bytes(b"no database at all, " * 500)
    done = wk(home, "sessions")
    assert done.returncode == 1
    assert "wk rebuild" in done.stderr
    assert done.stderr.count("\n") == 1
    assert wk(home, "rebuild").returncode == 0
    assert answer(home, "sessions")["total"] == 2


def test_while_another_process_writes_the_answer_says_that_it_may_be_old(home: Path, agent: Path) -> None:
    wk(home, "import")
    from watchkeeper.pipeline.locking import WriterLock

    lock = WriterLock(Places(home).writer_lock)
    try:
        third = Transcript("33333333-3333-4333-8333-333333333333", "2026-11-04", "/code/app")
        third.add("user", "unseen")
        third.write(agent)
        done = wk(home, "sessions", "--json")
    finally:
        lock.release()
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["total"] == 2
    assert document["stale_ms"] is None
    assert "may miss the newest" in done.stderr
    assert answer(home, "sessions")["total"] == 3


def test_times_follow_the_local_zone_for_people_and_utc_in_json(home: Path, agent: Path) -> None:
    assert "2026-11-03 19:00" in wk(home, "sessions", TZ="Asia/Tokyo").stdout
    document = json.loads(wk(home, "sessions", "--json", TZ="Asia/Tokyo").stdout)
    assert document["sessions"][0]["started_at"] == "2026-11-03T10:00:00.000Z"
    assert time.strptime(document["sessions"][0]["last_at"][:19], "%Y-%m-%dT%H:%M:%S")
