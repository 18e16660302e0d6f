"""``wk cost``: where the money of a session went, or which prompts of a stretch of time cost most."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.stats import stretch_title
from watchkeeper.cli.stretches import add_stretch_flags, stretch_of
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import money, one_line, places_for
from watchkeeper.errors import UsageError

HELP = (
    "Show what a session's cost went to, prompt by prompt; without a session the dearest prompts of a time."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session, the stretch, and how deep the tree is shown."""
    parser.add_argument("session", nargs="?", metavar="SESSION", help="session id; a prefix is enough")
    parser.add_argument(
        "--depth", type=int, default=1, metavar="N", help="1 prompts, 2 turns, 3 agents, 4 skills, 5 tools"
    )
    parser.add_argument(
        "-n", "--limit", type=int, default=20, metavar="N", help="prompts to list (default 20)"
    )
    add_stretch_flags(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the tree, or ``{"session_id", "tree": {...}, "by": {...}}``; without a session the dearest prompts."""
    if arguments.limit < 1 or arguments.depth < 1:
        raise UsageError("-n and --depth must be at least 1")
    stretch = stretch_of(arguments, time.time_ns() // 1_000_000, default="all")
    if arguments.session and stretch.name != "all":
        raise UsageError("a session is shown whole", hint="Leave the time out, or the session.")
    from watchkeeper.queries.attribution import session_cost, top_prompts
    from watchkeeper.queries.sessions import resolve_session

    with fresh_reader(context) as (reader, age):
        if arguments.session:
            answer = session_cost(reader, resolve_session(reader, arguments.session))
        else:
            answer = top_prompts(reader, stretch, limit=arguments.limit)
    if context.json:
        context.emit(with_age(answer, age))
        return 0
    lines = _session(answer, context, arguments) if arguments.session else _prompts(answer, context)
    for line in lines:
        context.line(line)
    context.next_step(
        "wk usage --by session,agent · wk context SESSION shows what each request carried along"
    )
    return 0


_FIGURES = (
    Column("requests", right=True, drop=1),
    Column("tokens", right=True, drop=2),
    Column("cost $", right=True),
)


def _figures(row: dict[str, Any], places: int = 2) -> list[str | Cell]:
    return [f"{row['requests']:,}", f"{row['tokens']:,}", money(row["cost_usd"], places=places)]


def _session(answer: dict[str, Any], context: Context, arguments: argparse.Namespace) -> list[str]:
    tree = answer["tree"]
    lines = [
        context.style(f"session {answer['session_id'][:8]} · {one_line(answer['project']) or '—'}", "bold"),
        "",
    ]
    places = places_for(tree["cost_usd"])
    rows: list[list[str | Cell]] = [["whole session", *_figures(tree, places)]]
    prompts = sorted(tree["children"], key=lambda node: -_number(node))
    for node in prompts[: arguments.limit]:
        rows += _branch(node, arguments.depth - 1, 1, places)
    rest = prompts[arguments.limit :]
    if rest:
        sums = {name: sum(node[name] for node in rest) for name in ("requests", "tokens")}
        sums["cost_usd"] = f"{sum(map(_number, rest)) / 1_000_000:.6f}"
        rows.append([f"  … {len(rest):,} more prompts", *_figures(sums, places)])
    lines += table(context, (Column("", least=24), *_FIGURES), rows)
    for level, title in (("agent", "by agent"), ("skill", "by skill"), ("tool", "by tool")):
        found = answer["by"][level]
        if len(found) > 1:
            rows = [[row["name"], *_figures(row, places)] for row in found[: arguments.limit]]
            lines += ["", *table(context, (Column(title, least=24), *_FIGURES), rows)]
    return lines + _beside(answer)


def _number(node: dict[str, Any]) -> int:
    whole, _, part = (node["cost_usd"] or "0").partition(".")
    return int(whole) * 1_000_000 + int(part.ljust(6, "0") or 0)


def _branch(node: dict[str, Any], deeper: int, indent: int, places: int) -> list[list[str | Cell]]:
    # A level that has nothing to tell apart is not worth a line.
    only = [child["name"] for child in node.get("children", ())]
    while deeper > 0 and only in (["main agent"], ["no skill"]):
        node = {**node, "children": node["children"][0].get("children", [])}
        deeper, only = deeper - 1, [child["name"] for child in node["children"]]
    rows: list[list[str | Cell]] = [["\u00b7 " * indent + node["name"], *_figures(node, places)]]
    if deeper > 0:
        for child in node.get("children", ()):
            rows += _branch(child, deeper - 1, indent + 1, places)
    return rows


def _beside(answer: dict[str, Any]) -> list[str]:
    tree = answer["tree"]
    lines = []
    places = places_for(tree["cost_usd"])
    if tree["unpriced_requests"]:
        lines.append(f"{tree['unpriced_requests']:,} requests have no known price and are in no sum.")
    if answer["client_total_usd"] is not None:
        lines.append(
            f"The client's own total: $ {money(answer['client_total_usd'], places=places)} (reported)."
        )
    if answer["not_in_transcripts_usd"] is not None:
        lines.append(
            f"Of it in no transcript (helper requests): $ {money(answer['not_in_transcripts_usd'], places=places)}."
        )
    return ["", *lines] if lines else []


def _prompts(answer: dict[str, Any], context: Context) -> list[str]:
    lines = [context.style(stretch_title(answer["stretch"]), "bold"), ""]
    if not answer["prompts"]:
        return [*lines, "No request is on record there."]
    columns = (
        Column("at"),
        Column("session"),
        Column("project", least=10),
        Column("prompt", least=20),
        *_FIGURES,
    )
    rows: list[list[str | Cell]] = [
        [
            local_time(row["at"]),
            (row["session_id"] or "—")[:8],
            row["project"],
            row["prompt"],
            *_figures(row),
        ]
        for row in answer["prompts"]
    ]
    lines += table(context, columns, rows)
    rest = answer["prompts_total"] - len(rows)
    if rest > 0:
        lines.append(context.style(f"… {rest:,} more: add -n {answer['prompts_total']}", "dim"))
    rows = [[row["project"], *_figures(row)] for row in answer["projects"]]
    rows.append([Cell("all", "bold"), *_figures(answer["total"])])
    return [*lines, "", *table(context, (Column("project", least=16), *_FIGURES), rows)]
