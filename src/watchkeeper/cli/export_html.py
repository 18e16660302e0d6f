"""A conversation as one HTML page: no script, nothing loaded from anywhere, light and dark, everything escaped.

A content security policy in the page allows nothing but its own style, so that even a mistake here runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from watchkeeper.cli.export_text import call_heading, call_parts, cost, facts_of, remarks_of, title_of, tokens
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.terminal import one_line, visible

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_FENCE = re.compile(
    r"^ {0,3}(?:`{3,}|~{3,})[^\n]*\n(.*?)(?:^ {0,3}(?:`{3,}|~{3,}) *$\n?|\Z)", re.MULTILINE | re.DOTALL
)
_LINE_CHARACTERS = 100
_STATES = {"ok": "good", "failed": "bad", "denied": "bad", "rejected": "bad"}
_MARKS = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)|\*\*(?=\S)(.+?)(?<=\S)\*\*")
_OPEN_LINES = 20
"""A block with more lines than this is closed at first."""
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c1f23; --dim: #646b75; --line: #e2e5e9; --soft: #f6f7f8;
  --accent: #0b5cad; --good: #1a6f37; --bad: #b3261e; --added: #e8f5ec; --removed: #fcebea; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --text: #dfe3e8; --dim: #969eaa; --line: #2c3137;
  --soft: #1b1f23; --accent: #7ab7f5; --good: #77c48f; --bad: #f28b82; --added: #16281c; --removed: #2f1b1b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px 24px 64px; max-width: 864px; background: var(--ground); color: var(--text);
  font: 15px/24px system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h1 { font-size: 21px; line-height: 32px; margin: 0 0 16px; }
h2 { font-size: 15px; line-height: 24px; margin: 40px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
h3, summary, .dim, dt, footer { font-size: 13px; font-weight: 400; color: var(--dim); }
h3 { margin: 16px 0 0; }
details h3 { margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 16px; margin: 0 0 16px; }
dd { margin: 0; }
a { color: var(--accent); }
p { margin: 0; white-space: pre-wrap; }
pre { font: 13px/20px ui-monospace, monospace; margin: 4px 0 8px; padding: 8px 12px; background: var(--soft);
  border-left: 2px solid var(--line); white-space: pre-wrap; max-height: 640px; overflow: auto; }
summary { cursor: pointer; padding: 4px 0; }
summary b { color: var(--text); font-weight: 600; }
time { float: right; padding-left: 16px; color: var(--dim); font-weight: 400; }
code { font: 13px ui-monospace, monospace; background: var(--soft); }
.prompt { border-left: 2px solid var(--accent); padding-left: 12px; }
.thinking p { color: var(--dim); }
.agent { margin-left: 24px; padding-left: 12px; border-left: 1px solid var(--line); }
.bad { color: var(--bad); } .good { color: var(--good); }
.add { background: var(--added); display: block; } .remove { background: var(--removed); display: block; }
.place { color: var(--dim); display: block; } .same { display: block; }
.remark { border-left: 2px solid var(--dim); padding-left: 12px; margin: 8px 0; }
@media print { body { max-width: none; } pre { max-height: none; } }
"""


def html_page(document: dict[str, Any]) -> str:
    """Return the whole page."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: dict[str, Any]) -> Iterator[str]:
    title = _text(one_line(title_of(document)))
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>"
    for name, value in facts_of(document):
        yield f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"
    for remark in remarks_of(document):
        yield f'<p class="remark">{_text(remark)}</p>'
    for turn in document["turns"]:
        yield from _turn(turn)
    yield "<footer><p>Written from the record by Watchkeeper. Times are local.</p></footer>\n</body>\n</html>"


def _turn(turn: dict[str, Any]) -> Iterator[str]:
    number = turn["number"]
    clock = local_time(turn["at"], seconds=True) if turn["at"] else "time unknown"
    name = f"{number}" if turn["prompt"] else "Before the first prompt"
    yield f'<section>\n<h2 id="turn-{number}"><a href="#turn-{number}">{name}</a> · {_text(clock)}</h2>'
    if turn["prompt"]:
        yield f'<div class="prompt"><h3>Prompt</h3>{_prose(turn["prompt"]["text"] or "")}</div>'
    for item in turn["items"]:
        body = "\n".join(_item(item))
        yield f'<div class="agent">{body}</div>' if item["depth"] else body
    if turn["usage"]["requests"]:
        yield f'<p class="dim">{_text(tokens(turn["usage"]))} · {_text(cost(turn["usage"]))}</p>'
    yield "</section>"


def _item(item: dict[str, Any]) -> Iterator[str]:
    who = f" · subagent {_text(item['agent_id'])}" if item["agent_id"] else ""
    if item["kind"] == "call":
        yield _call(item, who)
    elif item["kind"] == "text":
        yield f"<h3>{_clock(item)}Answer{who}</h3>{_prose(item['text'] or item['unavailable'] or '')}"
    elif item["kind"] == "thinking":
        text = _prose(item["text"] or item["unavailable"] or "")
        yield f'<details class="thinking"><summary>{_clock(item)}Thinking{who}</summary>{text}</details>'
    else:
        words = " · ".join(word for word in (item["name"], one_line(item["text"] or "")) if word)
        yield f'<p class="dim">{_clock(item)}{_text(item["kind"])}{who} · {_text(words)}</p>'


def _clock(item: dict[str, Any]) -> str:
    if not item["at"]:
        return ""
    return f"<time>{_text(local_time(item['at'], seconds=True).rpartition(' ')[2])}</time>"


def _call(item: dict[str, Any], who: str) -> str:
    tool, _, rest = call_heading(item).partition(" · ")
    subject, _, state = rest.rpartition(f" · {item['call']['outcome']}")
    subject, state = (subject, f"{item['call']['outcome']}{state}") if subject else ("", rest)
    style = _STATES.get(item["call"]["outcome"], "dim")
    blocks, lines = list[str](), 0
    for heading, language, text in call_parts(item):
        lines += text.count("\n") + len(text) // _LINE_CHARACTERS + 1
        blocks.append(f"<h3>{_text(heading)}</h3>{_diff(text) if language == 'diff' else _pre(text)}")
    opened = " open" if lines <= _OPEN_LINES else ""
    named = f"{_text(subject)} · " if subject else ""
    return (
        f"<details{opened}><summary>{_clock(item)}<b>{_text(tool)}</b> {named}"
        f'<span class="{style}">{_text(state)}</span>{who}</summary>{"".join(blocks)}</details>'
    )


def _prose(text: str) -> str:
    pieces, done = list[str](), 0
    for block in _FENCE.finditer(text):
        pieces += (_paragraph(text[done : block.start()]), _pre(block.group(1).rstrip("\n")))
        done = block.end()
    pieces.append(_paragraph(text[done:]))
    return "".join(pieces)


def _paragraph(text: str) -> str:
    if not text.strip():
        return ""
    pieces, done, shown = list[str](), 0, text.strip("\n")
    for mark in _MARKS.finditer(shown):
        pieces.append(_text(shown[done : mark.start()]))
        pieces.append(f"<code>{_text(mark[2])}</code>" if mark[2] else f"<b>{_text(mark[3])}</b>")
        done = mark.end()
    pieces.append(_text(shown[done:]))
    return f"<p>{''.join(pieces)}</p>"


def _pre(text: str) -> str:
    return f"<pre>\n{_text(text)}</pre>"


def _diff(text: str) -> str:
    return f"<pre>{''.join(_diff_line(line) for line in text.split(chr(10)))}</pre>"


def _diff_line(line: str) -> str:
    style = "same"
    if line.startswith(("--- ", "+++ ", "@@")):
        style = "place"
    elif line[:1] in {"+", "-"}:
        style = "add" if line[0] == "+" else "remove"
    return f'<span class="{style}">{_text(line) or "&nbsp;"}</span>'


def _text(text: Any) -> str:
    return escape(visible(str(text)), quote=True)
