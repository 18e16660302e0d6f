"""``wk context``: how full a session's context was, what filled it, and what carrying that along cost."""

from __future__ import annotations

import argparse
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import counted, money, one_line, places_for, steps
from watchkeeper.errors import NotFoundError, UsageError

HELP = "Show the size of a session's context over time, what filled it, and what carrying it along cost."

_SHOWN = 15
_LEVELS = "▁▂▃▄▅▆▇█"
_CURVE = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session and how much is listed."""
    parser.add_argument(
        "session", nargs="?", metavar="SESSION", help="session id; a prefix is enough (default: the newest)"
    )
    parser.add_argument(
        "-n", "--limit", type=int, metavar="N", help=f"items to list (default {_SHOWN}; with --json all)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the view, or ``{"requests": [...], "compactions": [...], "by_kind": [...], "items": [...], ...}``."""
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError("-n must be at least 1")
    from watchkeeper.pricing.rates import load_rates
    from watchkeeper.queries.context import session_context
    from watchkeeper.queries.sessions import list_sessions, resolve_session

    limit = arguments.limit or (None if context.json else _SHOWN)
    with fresh_reader(context) as (reader, age):
        newest = () if arguments.session else list_sessions(reader, limit=1)["sessions"]
        if not arguments.session and not newest:
            raise NotFoundError("no session is on record yet", hint="wk demo shows packaged sessions.")
        session = newest[0]["session_id"] if newest else resolve_session(reader, arguments.session)
        answer = session_context(reader, session, load_rates(context.settings), limit=limit)
    if context.json:
        context.emit(with_age(answer, age))
        return 0
    for line in _lines(answer, context):
        context.line(line)
    context.next_step(f"wk cost {one_line(answer['session_id'][:8])} shows which prompt cost what")
    return 0


def _lines(answer: dict[str, Any], context: Context) -> list[str]:
    title = f"session {one_line(answer['session_id'][:8])} · {one_line(answer['project']) or '—'}"
    lines = [context.style(title, "bold"), ""]
    if not answer["requests"]:
        return [*lines, "No API request of it is on record."]
    lines += _size(answer, context)
    lines += ["", *_costs(answer)]
    places = places_for(answer["cost_usd"])
    columns = (Column("what fills it", least=16), Column("items", right=True, drop=1), *_FIGURES)
    rows: list[list[str | Cell]] = [
        [row["kind"], f"{row['items']:,}", *_figures(row, places)] for row in answer["by_kind"]
    ]
    lines += ["", *table(context, columns, rows)]
    if answer["by_tool"]:
        columns = (Column("by tool", least=16), Column("items", right=True, drop=1), *_FIGURES)
        rows = [
            [row["tool"], f"{row['items']:,}", *_figures(row, places)] for row in answer["by_tool"][:_SHOWN]
        ]
        lines += ["", *table(context, columns, rows)]
    lines += ["", *_items(answer, context), *_offered(answer["offered"], context)]
    lines += [
        "",
        context.style("≈ estimated from sizes of texts, fitted to the exact totals of the requests.", "dim"),
    ]
    return lines


_FIGURES = (
    Column("tokens", right=True),
    Column("when it came $", right=True, drop=2),
    Column("carried along $", right=True),
    Column("together $", right=True, drop=3),
)


def _figures(row: dict[str, Any], places: int) -> list[str | Cell]:
    costs = (row["entry_cost_usd"], row["carried_cost_usd"], row["cost_usd"])
    return [f"≈{row['tokens']:,}", *(money(cost, about=True, places=places) for cost in costs)]


def _size(answer: dict[str, Any], context: Context) -> list[str]:
    main = [point for point in answer["requests"] if point["agent_id"] is None and not point["sidechain"]]
    shown = main or answer["requests"]
    window = answer["window_tokens"]
    peak = answer["peak_tokens"]
    when = f"{local_time(shown[0]['at'])} to {local_time(shown[-1]['at'])}"
    most = f"at most {peak:,} tokens · {100 * peak / window:.0f} % of a window of {window:,} ({answer['window_basis']})"
    lines = [f"{counted(len(answer['requests']), 'request')}, {when}", *steps(most, context.width), ""]
    lines.append(_curve([point["tokens"] for point in shown], window))
    others = [agent for agent in answer["agents"] if agent["sidechain"]]
    if others:
        largest = max(agent["peak_tokens"] for agent in others)
        lines.append(
            f"{counted(len(others), 'subagent')} with contexts of their own, at most {largest:,} tokens"
        )
    for row in answer["compactions"]:
        before, after = (_tokens(row[name]) for name in ("pre_tokens", "post_tokens"))
        trigger = f" ({one_line(row['trigger'])})" if row["trigger"] else ""
        lines.append(
            context.style(f"compacted {local_time(row['at'])}{trigger}: {before} to {after} tokens", "dim")
        )
    return lines


def _tokens(count: int | None) -> str:
    return "—" if count is None else f"{count:,}"


def _curve(sizes: list[int], window: int) -> str:
    """Return the sizes as a line of bars; of more requests than there is room for, the fullest of each group."""
    groups = min(_CURVE, len(sizes))
    fullest = [
        max(sizes[place * len(sizes) // groups : (place + 1) * len(sizes) // groups])
        for place in range(groups)
    ]
    return "".join(_LEVELS[min(len(_LEVELS) - 1, size * len(_LEVELS) // window)] for size in fullest)


def _costs(answer: dict[str, Any]) -> list[str]:
    if answer["cost_usd"] is None:
        return ["No price is known for its requests."]
    places = places_for(answer["cost_usd"])
    costs = [money(answer[name], places=places) for name in ("input_cost_usd", "output_cost_usd", "cost_usd")]
    lines = [f"Input cost $ {costs[0]}, output $ {costs[1]}, together $ {costs[2]}"]
    if answer["unpriced_requests"]:
        lines.append(f"{counted(answer['unpriced_requests'], 'request')} without a known price not counted")
    return lines


def _items(answer: dict[str, Any], context: Context) -> list[str]:
    places = places_for(answer["cost_usd"])
    columns = (
        Column("dearest items", least=24),
        Column("kind"),
        Column("came in", right=True, drop=4),
        Column("sent", right=True, drop=3),
        *_FIGURES[:1],
        *_FIGURES[2:],
    )
    rows: list[list[str | Cell]] = [
        [
            row["label"]
            if row["tool"] is None or row["label"] == row["tool"]
            else f"{row['tool']} {row['label']}",
            row["kind"],
            f"{row['first_request']:,}",
            f"{row['sent']:,}×",
            f"≈{row['tokens']:,}",
            money(row["carried_cost_usd"], about=True, places=places),
            money(row["cost_usd"], about=True, places=places),
        ]
        for row in answer["items"]
        if row["kind"] != "not on record"
    ]
    lines = table(context, columns, rows)
    rest = answer["items_total"] - len(answer["items"])
    if rest > 0:
        lines.append(context.style(f"… {rest:,} more: add -n {answer['items_total']}", "dim"))
    return lines


def _offered(offered: dict[str, Any] | None, context: Context) -> list[str]:
    if offered is None:
        return ["", context.style("Tools and skills offered: this client did not write them down.", "dim")]
    lines = [""]
    for name in ("tools", "skills"):
        use = offered[name]
        if use is None:
            continue
        lines.append(
            f"{use['offered']:,} {name} offered, {use['used']:,} used; the others took ≈{use['idle_tokens']:,} tokens"
            f" of each request, together $ {money(use['idle_cost_usd'], about=True, places=4)}"
        )
        if use["unused"]:
            lines.append(context.style(f"  never used: {one_line(', '.join(use['unused'][:8]))}", "dim"))
    for server in offered["mcp_servers"]:
        state = "idle" if server["idle"] else f"{server['used']:,} of {server['offered']:,} tools used"
        lines.append(
            f"MCP server {one_line(server['server'])}: {state}, ≈{server['idle_tokens']:,} tokens and"
            f" $ {money(server['idle_cost_usd'], about=True, places=4)} for what was not"
        )
    return lines
