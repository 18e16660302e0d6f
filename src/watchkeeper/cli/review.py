"""``wk review``: the week in review, on the terminal, as Markdown, or as JSON."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.stats import stretch_title
from watchkeeper.cli.stretches import add_stretch_flags, stretch_of
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import money, one_line

if TYPE_CHECKING:
    from watchkeeper.store.sqlite.reading import Reader

HELP = "The week in review: cost, where it went, what stood out, what to change."

_WEEK_MS = 7 * 86_400_000

Rows = list[list[str]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the stretch and the form."""
    add_stretch_flags(parser)
    parser.add_argument("--markdown", action="store_true", help="print Markdown, to be kept or sent")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the review, or ``{"figures", "days", "projects", "prompts", "quality", "errors", "changes", ...}``."""
    now = time.time_ns() // 1_000_000
    given = any((arguments.range, arguments.date, arguments.since, arguments.until))
    if not given:
        arguments.since = "7d"
    stretch = stretch_of(arguments, now, default="week")
    from watchkeeper.analysis.review import review
    from watchkeeper.pricing.rates import load_rates

    with fresh_reader(context) as (reader, age):
        answer = review(reader, stretch, load_rates(context.settings), now, _budgets(context, reader, now))
    if context.json:
        context.emit(with_age(answer, age))
        return 0
    page = _Markdown() if arguments.markdown else _Terminal(context)
    for line in _page(answer, page):
        context.line(line)
    if not arguments.markdown:
        context.next_step("wk quality · wk errors · wk cost say more · wk review --markdown to keep it")
    return 0


def _budgets(context: Context, reader: Reader, now_ms: int) -> dict[str, Any]:
    from watchkeeper.pricing.billing import billing_mode
    from watchkeeper.queries.budget import budget_report
    from watchkeeper.queries.quota import billing
    from watchkeeper.store.sqlite.state import open_state

    with open_state(context.settings.places) as state:
        paid = billing(billing_mode(context.settings["billing.mode"]), state, now_ms)
        return budget_report(reader, state, billing=paid, now_ms=now_ms)


class _Terminal:
    """The forms of a page on the terminal."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def title(self, text: str) -> list[str]:
        return [self._context.style(text, "bold")]

    def heading(self, text: str) -> list[str]:
        return ["", self._context.style(text, "bold")]

    def rows(self, columns: Sequence[Column], rows: Rows) -> list[str]:
        return table(self._context, columns, rows)

    def points(self, texts: list[str]) -> list[str]:
        from textwrap import wrap

        lines = []
        for text in texts:
            width = self._context.width
            lines += wrap(
                one_line(text), width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
            )
        return lines


class _Markdown:
    """The forms of a page in Markdown; what comes from the record cannot become markup."""

    def title(self, text: str) -> list[str]:
        return [f"# {_plain(text)}"]

    def heading(self, text: str) -> list[str]:
        return ["", f"## {_plain(text)}", ""]

    def rows(self, columns: Sequence[Column], rows: Rows) -> list[str]:
        head = " | ".join(_plain(column.title) or " " for column in columns)
        rule = " | ".join("---:" if column.right else "---" for column in columns)
        body = (" | ".join(_plain(cell) for cell in row) for row in rows)
        return [f"| {line} |" for line in (head, rule, *body)]

    def points(self, texts: list[str]) -> list[str]:
        return [f"- {_plain(text)}" for text in texts]


def _plain(text: str) -> str:
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, "\\" + mark)
    return one_line(text)


def _page(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    lines = page.title(f"Review · {stretch_title(answer['stretch'])}")
    if not answer["figures"]["sessions"]:
        return [*lines, "", "Nothing is on record there."]
    for heading, part in _PARTS:
        body = part(answer, page)
        if body:
            lines += [*page.heading(heading), *body]
    return lines


def _figures(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    figures, before = answer["figures"], answer["figures"]["previous"]
    rows = []
    for title, name in (
        ("cost $", "cost_usd"), ("sessions", "sessions"), ("prompts", "prompts"), ("tool calls", "tool_calls"),
        ("failures", "failures"), ("tokens", "tokens"), ("active time", "active_ms"),
        ("files changed", "files_touched"),
    ):  # fmt: skip
        then = "—" if before is None else _shown(name, before[name])
        rows.append([title, _shown(name, figures[name]), then])
    if figures["unpriced_requests"]:
        rows.append(["requests without a price", f"{figures['unpriced_requests']:,}", ""])
    return page.rows((Column(""), Column("now", right=True), Column("before", right=True)), rows)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "—"
    return (
        duration(value) if name == "active_ms" else f"{value:,}" if isinstance(value, int) else money(value)
    )


def _days(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    rows = [
        [row["day"], f"{row['requests']:,}", f"{row['tokens']:,}", money(row["cost_usd"])]
        for row in answer["days"]
    ]
    columns = (
        Column("day"),
        Column("requests", right=True),
        Column("tokens", right=True),
        Column("cost $", right=True),
    )
    return page.rows(columns, rows) if rows else []


def _where(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    rows = [
        [row["project"], f"{row['requests']:,}", money(row["cost_usd"])] for row in answer["projects"][:8]
    ]
    columns = (Column("project", least=16), Column("requests", right=True), Column("cost $", right=True))
    return page.rows(columns, rows) if rows else []


def _prompts(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    rows = [
        [local_time(row["at"]), (row["session_id"] or "—")[:8], row["prompt"], money(row["cost_usd"])]
        for row in answer["prompts"]
    ]
    columns = (Column("at"), Column("session"), Column("prompt", least=24), Column("cost $", right=True))
    return page.rows(columns, rows) if rows else []


def _sessions(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    rows = [
        [
            (row["session_id"] or "—")[:8],
            row["project"] or "—",
            row["title"] or "—",
            duration(row["active_ms"]),
            money(row["cost_usd"]),
        ]
        for row in answer["sessions"]
    ]
    columns = (
        Column("session"),
        Column("project", least=10),
        Column("title", least=16),
        Column("active", right=True),
        Column("cost $", right=True),
    )
    return page.rows(columns, rows) if rows else []


def _errors(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    found = answer["errors"]
    texts = []
    if found["unexpected"]:
        kinds = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found["by_kind"].items())
        texts.append(f"{found['unexpected']:,} calls went wrong: {kinds}")
    if found["expected"]:
        kinds = ", ".join(f"{count:,} {name}" for name, count in found["expected"].items())
        texts.append(f"told by exit status, no errors: {kinds}")
    if found["api_given_up"]:
        texts.append(f"{found['api_given_up']:,} API requests were given up")
    return page.points(texts) if texts else []


def _budget_rows(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    rows = []
    for row in answer["budgets"] or ():
        in_dollars = row["unit"] == "usd"
        spent, limit = (
            (money(row["spent_usd"]), money(row["limit_usd"]))
            if in_dollars
            else (row["spent_percent"], row["limit_percent"])
        )
        sign = "$" if in_dollars else "%"
        rows.append(
            [
                row["period"].replace("_", "-"),
                row["project"] or "all",
                f"{'—' if spent is None else spent} {sign}",
                f"{limit} {sign}",
                row["state"],
            ]
        )
    columns = (
        Column("budget"),
        Column("project"),
        Column("spent", right=True),
        Column("limit", right=True),
        Column("state"),
    )
    return page.rows(columns, rows) if rows else []


def _changes(answer: dict[str, Any], page: _Terminal | _Markdown) -> list[str]:
    return page.points([f"{row['change']}: {row['proposal']}" for row in answer["changes"]])


_PARTS: tuple[tuple[str, Callable[[dict[str, Any], _Terminal | _Markdown], list[str]]], ...] = (
    ("In figures", _figures),
    ("Day by day", _days),
    ("Where it went", _where),
    ("Dearest prompts", _prompts),
    ("Longest sessions", _sessions),
    ("What went wrong", _errors),
    ("Budgets now", _budget_rows),
    ("What to change", _changes),
)
