"""`wk export`: the whole conversation from the record, in three forms that nothing in it can break out of."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from agent_folder import FIRST, SECRET, assistant, conversation_lines, make_sessions, user, write_lines
from harness_system import wk, wk_json

from watchkeeper.queries.conversation import conversation
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></details><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "```\n</pre><script>alert(2)</script>",
    "![x](https://tracker.example/p.png)",
    "<!--",
    "\u202etxt.exe \x1b[31m \ud800",
    "]]><iframe src=//evil.example>",
    "&lt;script&gt;",
]


@pytest.fixture
def recorded(settings: Settings) -> Settings:
    """A home that has taken the sessions in; the agent has deleted its transcripts since."""
    config_dir = settings.claude_config_dirs[0]
    make_sessions(config_dir, settings.places.home.parent / "old", SECRET)
    wk(settings, "import")
    shutil.rmtree(config_dir / "projects")
    return settings


def kinds(turn: dict[str, Any]) -> list[str]:
    return [item["kind"] for item in turn["items"] if item["kind"] not in {"gap", "subagent", "event"}]


def test_a_conversation_is_turns_in_order(recorded: Settings) -> None:
    """Prompts begin them; thinking, calls with input, result and diff, and answers follow; cost adds up."""
    document = wk_json(recorded, "export", FIRST[:8])
    first, second = document["turns"]
    assert [turn["number"] for turn in document["turns"]] == [1, 2]
    assert first["prompt"]["text"].startswith("Look at ")
    assert second["prompt"]["text"] == "Thank you."
    assert [kind for kind in kinds(first) if kind != "finding"] == ["thinking", "call", "call", "text"]
    command, edit = (item for item in first["items"] if item["kind"] == "call")
    assert command["input"] == {"command": "echo $DEPLOY_STAGE <b>"}
    assert command["result"] == "staging"
    assert "+a + b" in edit["diff"]
    assert document["usage"]["requests"] == 6
    for name in ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "unpriced_requests"):
        assert sum(turn["usage"][name] for turn in document["turns"]) == document["usage"][name]
    assert sum(turn["usage"]["cost_micros"] or 0 for turn in document["turns"]) == (
        document["usage"]["cost_micros"] or 0
    )


def test_secrets_are_placeholders_and_said_so(recorded: Settings) -> None:
    """In every form."""
    for name in ("md", "html", "json"):
        text = wk(recorded, "export", FIRST, "--format", name).stdout
        assert SECRET not in text
        assert "[REDACTED" in text or "\\[REDACTED" in text
    document = wk_json(recorded, "export", FIRST)
    assert sum(document["masked"].values()) == 1
    assert "Secrets were masked" in wk(recorded, "export", FIRST).stdout


def test_the_file_is_its_owners_and_replaces_nothing(recorded: Settings, tmp_path: Path) -> None:
    """The ending chooses the form; an existing file needs --force."""
    path = tmp_path / "talk.html"
    answer = wk_json(recorded, "export", FIRST, "-o", str(path))
    assert (answer["format"], answer["turns"]) == ("html", 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert "there already" in wk(recorded, "export", FIRST, "-o", str(path), status=2).stderr
    wk(recorded, "export", FIRST, "-o", str(path), "--force", "--format", "json")
    assert json.loads(path.read_text())["session"]["session_id"] == FIRST


def test_markdown_reads_like_the_conversation(recorded: Settings) -> None:
    """Headings, fences by kind, cost with its provenance, and the client's own total."""
    text = wk(recorded, "export", FIRST).stdout
    assert re.search(r"^## 1 · ", text, re.MULTILINE)
    assert "```sh\necho $DEPLOY_STAGE <b>\n```" in text
    assert "```diff\n" in text
    assert "It adds now." in text
    assert "$ 0.25 (reported)" in text


class Page(HTMLParser):
    """What a browser would make of a page: tags, their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(settings: Settings) -> Settings:
    """A session in which every text that a page shows is an attack."""
    lines: list[dict[str, Any]] = []
    cwd = "/srv/<b>app"
    for number, attack in enumerate(HOSTILE):
        call, base = f"toolu_{number}", number * 4
        use = {"type": "tool_use", "id": call, "name": f"Bash{attack}"[:80], "input": {"command": attack}}
        result = [{"type": "tool_result", "tool_use_id": call, "content": attack, "is_error": True}]
        lines += [
            user(FIRST, base, cwd, f"say {attack}", promptId=f"p{number}"),
            assistant(FIRST, base + 1, cwd, {"type": "thinking", "thinking": attack}),
            assistant(FIRST, base + 2, cwd, {"type": "text", "text": attack}, agentId=None),
            assistant(FIRST, base + 3, cwd, use),
            user(FIRST, base + 3, cwd, result, toolUseResult=attack),
        ]
    lines.append({"type": "custom-title", "customTitle": HOSTILE[1], "sessionId": FIRST})
    path = settings.claude_config_dirs[0] / "projects" / "-srv--b-app" / f"{FIRST}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    wk(settings, "import")
    return settings


def test_no_text_becomes_markup(hostile: Settings) -> None:
    """Only our own tags and attributes stand in the page; no script, no handler, no address of anywhere."""
    text = wk(hostile, "export", FIRST, "--format", "html").stdout
    page = Page(text)
    assert page.open == []
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "dl", "dt", "dd", "p", "section", "a",
        "div", "details", "summary", "b", "span", "pre", "footer", "time", "code",
    }  # fmt: skip
    names = {name for name, _ in page.attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "id", "href", "class", "open"}
    addresses = [value for name, value in page.attributes if name == "href"]
    assert all(value is not None and re.fullmatch(r"#turn-\d+", value) for value in addresses)
    assert "default-src 'none'" in str(page.attributes)
    assert "url(" not in text
    assert "@import" not in text
    for attack in HOSTILE[:4]:
        assert attack in page.text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_markdown_runs_nothing_and_loads_nothing(hostile: Settings) -> None:
    """Outside of code no tag opens and no image loads; every fence is closed."""
    text = wk(hostile, "export", FIRST).stdout
    fence, prose = "", []
    for line in text.split("\n"):
        mark = re.match(r"^ {0,3}(`{3,})", line)
        if fence:
            if mark and line.strip() == fence:
                fence = ""
        elif mark:
            fence = mark.group(1)
        else:
            prose.append(line)
    assert fence == ""
    shown = "\n".join(prose)
    assert "<" not in shown.replace("\\<", "")
    assert "![" not in shown


def test_a_page_is_shown_by_a_browser_without_a_request(
    hostile: Settings, chromium: str, tmp_path: Path
) -> None:
    """Chromium renders it; nothing is asked for, no dialog opens, and no script has run."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "talk.html"
    wk(hostile, "export", FIRST, "-o", str(path))
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        asked, dialogs, problems = [], [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path.as_uri())
        for details in page.query_selector_all("details"):
            details.evaluate("element => element.open = true")
        assert page.query_selector_all("script, img, svg, iframe") == []
        assert page.query_selector("h1").inner_text() != ""
        browser.close()
    assert (asked, dialogs, problems) == ([path.as_uri()], [], [])


def test_an_erased_payload_is_named(recorded: Settings) -> None:
    """The conversation goes on without it, and says so."""
    for pack in sorted(recorded.places.archive.rglob("*")):
        if pack.is_file():
            pack.unlink()
    with open_reader(recorded.places) as reader:
        document = conversation(reader, FIRST)
    assert document["unavailable"] > 0
    assert len(document["turns"]) == 2
    assert document["turns"][1]["prompt"]["text"] == "Thank you."
    text = wk(recorded, "export", FIRST, "--format", "html").stdout
    assert "no longer on record" in text


def test_a_session_of_mere_events_is_one_turn(settings: Settings) -> None:
    """What came before any prompt is turn 0."""
    lines = [row for row in conversation_lines(FIRST, "/srv/app") if row.get("type") == "assistant"][:1]
    write_lines(settings.claude_config_dirs[0] / "projects" / "-srv-app" / f"{FIRST}.jsonl", lines)
    document = wk_json(settings, "export", FIRST)
    assert [(turn["number"], turn["prompt"]) for turn in document["turns"]] == [(0, None)]
    assert document["turns"][0]["usage"]["requests"] == 1
    assert "Before the first prompt" in wk(settings, "export", FIRST).stdout


def test_a_fork_names_the_session_that_holds_what_came_before(settings: Settings) -> None:
    """What it shares with its origin is the origin's; its own turns are its own."""
    fork = "9f9f9f9f-1111-4222-8333-444444444444"
    origin = conversation_lines(FIRST, "/srv/app")
    copied = [
        row | {"sessionId": fork, "forkedFrom": {"sessionId": FIRST, "messageUuid": row["uuid"]}}
        for row in origin
        if "uuid" in row
    ]
    own = [
        user(fork, 30, "/srv/app", "Another way, please.", promptId="own"),
        assistant(fork, 31, "/srv/app", {"type": "text", "text": "Gladly."}),
    ]
    folder = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    write_lines(folder / f"{FIRST}.jsonl", origin)
    write_lines(folder / f"{fork}.jsonl", [*copied, *own])
    document = wk_json(settings, "export", fork)
    assert document["forked_from"] == FIRST
    assert [turn["prompt"]["text"] for turn in document["turns"]] == ["Another way, please."]
    assert f"in session {FIRST}" in wk(settings, "export", fork, "--format", "html").stdout
    assert wk_json(settings, "export", FIRST)["usage"]["requests"] == 5
