"""The page in a real Chromium, on a real daemon that has read real-looking transcripts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.cli.dashboard import sign_in_url
from watchkeeper.server.page import STATIC

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SMALL = "11111111-1111-4111-8111-111111111111"
LARGE = "22222222-2222-4222-8222-222222222222"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> \x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eend"
LARGE_CALLS = 5000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def _line(session: str, number: int, kind: str, content: Any, **more: Any) -> str:
    at = datetime.now(UTC) - timedelta(hours=1) + timedelta(milliseconds=200 * number)
    return json.dumps(
        {
            "type": kind,
            "uuid": f"{session[:8]}-0000-4000-8000-{number:012d}",
            "parentUuid": None,
            "isSidechain": False,
            "sessionId": session,
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "cwd": "/home/dev/shop",
            "version": "2.1.330",
            "gitBranch": "main",
            "userType": "external",
            "message": {"role": kind, "content": content},
        }
        | more
    )


def _call(session: str, number: int, command: str, stdout: str) -> list[str]:
    call = f"toolu_{session[:4]}{number:08d}"
    use = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": command}}
    message = {"role": "assistant", "id": f"msg_{call}", "model": "claude-sonnet-5-5", "content": [use]}
    result = {"type": "tool_result", "tool_use_id": call, "content": stdout, "is_error": False}
    return [
        _line(session, number, "assistant", [], message=message),
        _line(session, number + 1, "user", [result], toolUseResult={"stdout": stdout, "stderr": ""}),
    ]


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def transcripts(home: Path) -> Path:
    """A folder with a small session that holds hostile text, and one of 10,000 lines."""
    folder = Path(os.environ["CLAUDE_CONFIG_DIR"]) / "projects" / "-home-dev-shop"
    prompt = _line(SMALL, 0, "user", "Round the total")
    _write(folder / f"{SMALL}.jsonl", [prompt, *_call(SMALL, 1, "make test", HOSTILE)])
    lines = [_line(LARGE, 0, "user", "Do a great deal")]
    for number in range(1, 2 * LARGE_CALLS, 2):
        lines += _call(LARGE, number, f"step {number}", "done")
    _write(folder / f"{LARGE}.jsonl", lines)
    return folder


@pytest.fixture
def page(transcripts: Path, running_daemon: Any) -> Iterator[Any]:
    """A signed-in page; a script error or a refused resource fails the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page has not been built: run make install")
    complaints: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shown = browser.new_page(viewport={"width": 1280, "height": 800})
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on(
            "console",
            lambda m: complaints.append(f"{m.text} {m.location.get('url')}") if m.type == "error" else None,
        )
        shown.on(
            "response",
            lambda answer: (
                complaints.append(f"{answer.url}: {answer.text()}") if answer.status >= 400 else None
            ),
        )
        shown.goto(sign_in_url(running_daemon.settings))
        yield shown
        browser.close()
    # Chromium knows no IPv6 address in a policy's source list; the other sources of the line hold.
    assert not [text for text in complaints if "invalid source: 'ws://[::1]" not in text]


def _session_link(page: Any, session: str) -> Any:
    return page.locator(f'a[href="/sessions/{session}"]')


def test_a_session_of_the_agents_folder_is_listed_and_opens_with_its_call(page: Any) -> None:
    """The list shows what was imported; a call opens with its command, its output and its evidence."""
    _session_link(page, SMALL).click()
    row = page.get_by_role("article").filter(has_text="make test")
    row.get_by_role("button").first.click()
    output = page.get_by_label("Standard output")
    output.wait_for()
    assert "red" in output.inner_text()
    assert row.get_by_role("table").get_by_text("transcript").count() >= 1


def test_recorded_text_is_shown_and_never_obeyed(page: Any) -> None:
    """Markup stays text, a title sequence is dropped, a direction override is made visible."""
    page.goto(page.url.rstrip("/") + f"/sessions/{SMALL}")
    page.get_by_role("article").filter(has_text="make test").get_by_role("button").first.click()
    shown = page.get_by_label("Standard output").inner_text()
    assert "<img src=x onerror=" in shown
    assert "⟨U+202E⟩" in shown
    assert "\x1b" not in shown
    assert page.locator("img").count() == 0
    assert "owned" not in page.title()


def test_a_session_of_ten_thousand_lines_draws_only_what_is_in_view(page: Any) -> None:
    """The rows are all counted and reachable, yet only those in and near the viewport are in the document."""
    _session_link(page, LARGE).wait_for(timeout=60_000)
    cell = f'[data-key="{LARGE}"]'
    page.wait_for_function(
        "([cell, calls]) => document.querySelector(cell)?.innerText.includes(calls)", arg=[cell, "5,000"]
    )
    _session_link(page, LARGE).click()
    page.locator('[role=feed][aria-busy="false"]').wait_for(timeout=60_000)
    assert page.get_by_role("article").count() < 100
    page.keyboard.press("G")
    last = page.get_by_role("article").filter(has_text=f"step {2 * LARGE_CALLS - 1}")
    last.wait_for()
    assert page.get_by_role("article").count() < 100
    assert int(last.first.get_attribute("aria-setsize")) >= LARGE_CALLS


def test_a_new_call_appears_while_the_session_is_watched(page: Any, transcripts: Path) -> None:
    """A line that is written to the transcript becomes a row without a reload."""
    _session_link(page, SMALL).click()
    page.get_by_role("article").filter(has_text="make test").wait_for()
    page.get_by_role("button", name="live").wait_for()
    _write(transcripts / f"{SMALL}.jsonl", _call(SMALL, 50, "make live", "done"))
    page.get_by_role("article").filter(has_text="make live").wait_for(timeout=60_000)


def test_while_paused_nothing_moves_and_afterwards_nothing_is_missing(
    page: Any, transcripts: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """Space holds what arrives and says how much; space again shows it."""
    _session_link(page, SMALL).click()
    page.get_by_role("article").filter(has_text="make test").wait_for()
    page.get_by_role("button", name="live").wait_for()
    page.keyboard.press("Space")
    _write(transcripts / f"{SMALL}.jsonl", _call(SMALL, 50, "make later", "done"))
    page.get_by_role("button", name="held, resume").wait_for(timeout=60_000)
    later = page.get_by_role("article").filter(has_text="make later")
    assert later.count() == 0
    page.keyboard.press("Space")
    eventually(lambda: later.count() == 1)


def test_where_the_words_stand_is_shown_inside_its_own_row(page: Any) -> None:
    """A row grows with its excerpts; none of them lies over the next row."""
    _session_link(page, SMALL).wait_for()
    page.keyboard.press("/")
    page.keyboard.type("make")
    page.wait_for_url("**/?q=make")
    row = page.locator(".row.body").filter(has_text="Round the total")
    excerpt = row.locator(".hit").last
    excerpt.wait_for()
    outer, inner = row.bounding_box(), excerpt.bounding_box()
    assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]


def test_filters_live_in_the_address_and_the_keyboard_moves(page: Any) -> None:
    """A search is kept in the URL, a reload shows the same, and g c goes to coverage."""
    _session_link(page, SMALL).wait_for()
    page.keyboard.press("/")
    page.keyboard.type("no such session anywhere")
    page.wait_for_url("**/?q=*")
    page.get_by_text("No session fits these filters.").wait_for()
    page.reload()
    page.get_by_text("No session fits these filters.").wait_for()
    page.get_by_role("link", name="Show all sessions").click()
    _session_link(page, SMALL).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.get_by_role("heading", name="Coverage").wait_for()
    page.get_by_text("Seen by every active witness").wait_for()
