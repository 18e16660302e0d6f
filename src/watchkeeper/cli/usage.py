"""``wk usage``: tokens and cost by any key, right from the first call on."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.tables import Cell, Column, room, table
from watchkeeper.cli.terminal import money, visible, wrapped
from watchkeeper.errors import UsageError, WatchkeeperError

if TYPE_CHECKING:
    from watchkeeper.store.sqlite.reading import Reader

HELP = "Sum tokens and cost by day, week, month, project, model, session, agent, block, user, branch, tool, skill, mcp."

_FIGURES = (
    Column("requests", right=True, drop=3),
    Column("input", right=True, drop=2),
    Column("output", right=True),
    Column("write 5m", right=True, drop=4),
    Column("write 1h", right=True, drop=5),
    Column("cache read", right=True, drop=1),
    Column("cost $", right=True),
)
_ABSENT = {
    "tool": "no tool",
    "skill": "no skill",
    "mcp": "no server",
    "branch": "no branch",
    "day": "no time",
}
_IN_TIME = ("day", "week", "month", "block")
"""Keys whose rows stand in the order of time; those of all others stand dearest first."""
_CSV = (
    "requests", "input_tokens", "output_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "cache_read_tokens", "web_searches", "cost_usd", "reported", "computed", "estimated", "unpriced_requests",
    "partial_requests", "nested_requests",
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the keys and the filters."""
    parser.add_argument(
        "--by", default="day", metavar="KEYS", help="one key or several with commas (default day)"
    )
    parser.add_argument("--since", metavar="T", help="24h, 7d, today, yesterday, a date, or all")
    parser.add_argument("--until", metavar="T", help="the same; a date counts to its end")
    parser.add_argument("-p", "--project", metavar="PROJECT", help="only projects whose path holds this")
    parser.add_argument("--session", metavar="ID", help="only this session, by its id or a beginning of it")
    parser.add_argument("--model", metavar="MODEL", help="only models whose id holds this")
    parser.add_argument("--agent", metavar="AGENT", help="only this subagent, or main")
    parser.add_argument("--tag", metavar="TAG", help="only sessions and projects with this tag")
    parser.add_argument(
        "--compare",
        nargs="?",
        const="previous",
        metavar="FROM..TO",
        help="beside another stretch: two dates, or without a value the stretch of the same length before",
    )
    parser.add_argument("--csv", action="store_true", help="comma-separated values with a header line")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the sums, or ``{"rows": [...], "total": {...}}``."""
    import gc

    gc.disable()  # Thousands of rows are made, none of them cyclic, and the process ends when they are printed.
    from watchkeeper.queries.periods import since_ms, until_ms
    from watchkeeper.queries.usage import Filter

    now = time.time_ns() // 1_000_000
    keys = tuple(key.strip() for key in arguments.by.split(",") if key.strip())
    where = Filter(
        since_ms=since_ms(arguments.since, now),
        until_ms=until_ms(arguments.until, now),
        project=arguments.project,
        session=arguments.session,
        model=arguments.model,
        agent=arguments.agent,
    )
    stretches = [where]
    if arguments.compare:
        stretches.append(_other(arguments.compare, where, now))
    answers = _answers(context, keys, stretches, arguments.tag)
    document = _with_billing(context, answers[0], now)
    if arguments.compare:
        document = {**document, "previous": _with_bounds(answers[1], stretches[1])}
    if context.json:
        context.emit(document)
    elif arguments.csv:
        _print_csv(document["rows"], keys)
    else:
        _print(context, keys, document)
    return 0


def _answers(
    context: Context, keys: tuple[str, ...], stretches: list[Any], tag: str | None
) -> list[dict[str, Any]]:
    from watchkeeper.store.sqlite.reading import store_failures
    from watchkeeper.store.sqlite.usage_cache import DAMAGE, discard

    places = context.settings.places
    if "tool" in keys:
        # Which tool an answer asked for is known to the index alone.
        from watchkeeper.cli.freshness import bring_up_to_date

        bring_up_to_date(context)
    elif not places.home.exists():
        from watchkeeper.daemon.homes import prepare_home

        prepare_home(places)
    with store_failures(places.database):
        try:
            return _read(context, keys, stretches, tag)
        except DAMAGE:
            # Where it is the index that is damaged, the second reading says so.
            discard(places.usage_cache)
            return _read(context, keys, stretches, tag)


def _read(
    context: Context, keys: tuple[str, ...], stretches: list[Any], tag: str | None
) -> list[dict[str, Any]]:
    from watchkeeper.pipeline.usage_scan import refresh
    from watchkeeper.pricing.rates import load_rates
    from watchkeeper.queries.usage import usage
    from watchkeeper.queries.usage_sources import requests_of
    from watchkeeper.store.sqlite.reading import open_reader

    rates = load_rates(context.settings)
    with open_reader(context.settings.places) as reader:
        if tag is not None:
            stretches = [where._replace(sessions=_tagged(context, reader, tag)) for where in stretches]
        cache = refresh(context.settings, reader, rates)
        answers = []
        for where in stretches:
            requests = requests_of(reader, rates, cache, keys, where)
            answers.append(usage(requests, keys, where))
        return answers


def _with_billing(context: Context, document: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Return the answer with how it is paid for: on a subscription, money is what the tokens would cost by the list."""
    from watchkeeper.pricing.billing import API, AUTO, SUBSCRIPTION, billing_mode

    mode, places = billing_mode(context.settings["billing.mode"]), context.settings.places
    paid = mode
    if mode == AUTO and not places.state.exists():
        paid = API
    else:
        from watchkeeper.queries.quota import billing, session_billing
        from watchkeeper.store.sqlite.state import read_state

        try:
            with read_state(places) as state:
                for row in document["rows"]:
                    session = row["key"].get("session")
                    if session:
                        row["billing"] = session_billing(mode, state, session, row["key"].get("model"))
                paid = billing(mode, state, now_ms)
        except WatchkeeperError as error:
            context.note(f"wk: whether this is a subscription is not known: {error}")
    return {**document, "billing": paid, "api_equivalent": paid == SUBSCRIPTION}


def _tagged(context: Context, reader: Reader, tag: str) -> frozenset[str]:
    from watchkeeper.queries.tags import sessions_of_tag
    from watchkeeper.store.sqlite.state import open_state

    with open_state(context.settings.places) as state:
        return sessions_of_tag(reader, state, tag)


def _other(text: str, where: Any, now: int) -> Any:
    from watchkeeper.queries.periods import since_ms, until_ms

    if text != "previous":
        since, dots, until = text.partition("..")
        if not dots:
            raise UsageError("--compare takes FROM..TO", hint="For example --compare 2026-10-01..2026-10-31.")
        return where._replace(
            since_ms=since_ms(since, now, "--compare"), until_ms=until_ms(until, now, "--compare")
        )
    if where.since_ms is None:
        raise UsageError("--compare needs --since, or FROM..TO", hint="For example --since 7d --compare.")
    end = now if where.until_ms is None else where.until_ms
    return where._replace(since_ms=2 * where.since_ms - end, until_ms=where.since_ms)


def _with_bounds(answer: dict[str, Any], where: Any) -> dict[str, Any]:
    from watchkeeper.queries.forms import rfc3339

    return {"since": rfc3339(where.since_ms), "until": rfc3339(where.until_ms), **answer}


def _print_csv(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    import csv
    import sys

    names = list(rows[0]["key"]) if rows else list(keys)
    writer = csv.writer(sys.stdout)
    writer.writerow([*names, *_CSV])
    for row in rows:
        flat = {**row, **row["cost_basis"]}
        writer.writerow([*(_harmless(row["key"][name]) for name in names), *(flat[name] for name in _CSV)])


def _harmless(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula, and no terminal for a command."""
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else visible(value)


def _print(context: Context, keys: tuple[str, ...], document: dict[str, Any]) -> None:
    rows, total = document["rows"], document["total"]
    if not rows:
        context.line("No request is on record for this.")
        context.say_where_transcripts_are_sought()
        context.next_step("wk usage --by project · wk doctor checks the whole chain")
        return
    if keys[0] not in _IN_TIME:
        rows = sorted(rows, key=_dearest_first)
    lines = next(
        (
            table(context, *drawn)
            for drawn in (_drawn(rows, keys, document, narrow) for narrow in (0, 1))
            if room(*drawn) <= context.width
        ),
        None,
    ) or table(context, *_drawn(rows, keys, document, 2))
    for line in lines[:-1]:
        context.line(line)
    context.line(context.style(lines[-1], "bold"))
    if any(not row["requests"] for row in rows):
        context.line(
            context.style("a request that asked for several tools is counted at the first one", "dim")
        )
    remarks = _remarks(total, rows, equivalent=document["api_equivalent"])
    if "previous" in document:
        remarks.insert(0, _before(document["previous"], keys))
    for remark in remarks:
        for line in wrapped(remark, context.width):
            context.line(context.style(line, "dim"))


def _dearest_first(row: dict[str, Any]) -> float:
    return -float(row["cost_usd"] or 0)


def _drawn(
    rows: list[dict[str, Any]], keys: tuple[str, ...], document: dict[str, Any], narrow: int
) -> tuple[list[Column], list[list[str | Cell]]]:
    """Return columns and cells: 0 in full, 1 with short names, 2 also with both cache writes in one column."""
    previous = {_name(row, keys): row for row in document.get("previous", {}).get("rows", ())}
    columns = [*(Column(key, least=10) for key in keys), *_FIGURES]
    if "previous" in document:
        columns += [Column("before $", right=True), Column("change", right=True)]
    cells = [
        [
            *(_shown(key, name, narrow) for key, name in zip(keys, _name(row, keys), strict=True)),
            *_cells(row),
            *_beside(row, previous.get(_name(row, keys)), document),
        ]
        for row in rows
    ]
    total, before = document["total"], document.get("previous", {}).get("total")
    cells.append(["total", *[""] * (len(keys) - 1), *_cells(total), *_beside(total, before, document)])
    if narrow == 2:
        place = len(keys) + 3
        columns[place : place + 2] = [Column("write", right=True, drop=4)]
        for line, row in zip(cells, [*rows, total], strict=True):
            both = row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"]
            line[place : place + 2] = [_short(both)]
    return columns, cells


def _shown(key: str, name: str, narrow: int) -> str:
    """Return a name as a reader knows it; where space is short, without what all of its kind begin or end with."""
    if key == "block" and name[:1].isdigit():
        from watchkeeper.cli.periods import local_time

        return local_time(name)
    if narrow and key == "session":
        return name[:8]
    if narrow and key == "model":
        return name.removeprefix("claude-")
    return name


def _before(previous: dict[str, Any], keys: tuple[str, ...]) -> str:
    from watchkeeper.cli.periods import local_time

    since = "the beginning" if previous["since"] is None else local_time(previous["since"])
    until = "now" if previous["until"] is None else local_time(previous["until"])
    said = f"before: {since} to {until}"
    return f"{said} · --by project or model compares row by row" if keys[0] in _IN_TIME else said


def _name(row: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        _ABSENT.get(key, "unknown") if row["key"][key] is None else str(row["key"][key]) for key in keys
    )


def _cells(row: dict[str, Any]) -> list[str | Cell]:
    figures: list[str | Cell] = [f"{row['requests']:,}", *(_short(row[name]) for name in _CSV[1:6])]
    cost = row["cost_usd"]
    figures.append(Cell("unpriced", "warn") if cost is None else money(cost))
    return figures


def _beside(row: dict[str, Any], before: dict[str, Any] | None, document: dict[str, Any]) -> list[str]:
    if "previous" not in document:
        return []
    if before is None or before["cost_usd"] is None or row["cost_usd"] is None:
        return ["—", "—"]
    old, new = float(before["cost_usd"]), float(row["cost_usd"])
    return [money(before["cost_usd"]), f"{100 * (new - old) / old:+.0f} %" if old else "—"]


def _short(count: int) -> str:
    """Return a count in at most five characters."""
    for limit, divisor, unit in (
        (10**4, 1, ""),
        (10**6, 10**3, "k"),
        (10**9, 10**6, "M"),
        (10**12, 10**9, "G"),
    ):
        if count < limit:
            value = count / divisor
            return (
                f"{count}" if divisor == 1 else f"{value:.1f}{unit}" if value < 100 else f"{value:.0f}{unit}"
            )
    return f"{count / 10**12:.1f}T"


def _remarks(total: dict[str, Any], rows: list[dict[str, Any]], *, equivalent: bool) -> list[str]:
    basis = total["cost_basis"]
    said = [f"{basis[name]:,} {name}" for name in ("reported", "computed", "estimated") if basis[name]]
    remarks = [f"cost: {', '.join(said) or 'nothing priced'} (requests) · prices: wk prices"]
    if total["unpriced_requests"]:
        remarks.append(
            f"{total['unpriced_requests']:,} requests are unpriced and not in the sum: wk usage --by model"
        )
    if total["partial_requests"] == total["requests"]:
        remarks.append("output is a lower bound: these versions of the client log no end of an answer")
    elif total["partial_requests"]:
        remarks.append(
            f"output of {total['partial_requests']:,} requests is a lower bound: the client logged no end"
        )
    differing = [row for row in rows if row.get("difference_usd") not in {None, "0.00"}]
    if differing:
        remarks.append(
            f"{len(differing):,} sessions differ from the client's own total, which counts what transcripts leave out"
            " (--json: client_cost_usd)"
        )
    if equivalent:
        remarks.append(
            "on a subscription these figures are API-equivalent: what the tokens would cost by the list"
            " (billing.mode in wk config)"
        )
    return remarks
