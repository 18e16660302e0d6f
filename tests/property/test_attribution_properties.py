"""Whatever the requests: parts add up to the whole at every level, and a context's items to what was sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.queries.attribution import LEVELS, Node, attribute
from watchkeeper.queries.context_model import Item, Lane, Sent
from watchkeeper.queries.shares import divide

TIMES = st.one_of(st.none(), st.integers(0, 1000))
AGENTS = st.sampled_from([None, None, "a1", "a2", "a3"])


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_shares_add_up_and_none_is_off_by_one_unit_or_more(total: int, weights: list[int]) -> None:
    parts = divide(total, weights)
    assert sum(parts) == total
    if any(weights):
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part * sum(weights) - total * weight) < sum(weights)
    else:
        assert max(parts) - min(parts) <= 1


@st.composite
def sessions(draw: st.DrawFn) -> dict[str, Any]:
    requests = [
        {
            "request_key": f"r{number}",
            "session_id": "s",
            "agent_id": draw(AGENTS),
            "sidechain": draw(st.sampled_from([0, 0, 1])),
            "at": draw(TIMES),
            "skill": draw(st.sampled_from([None, None, "deploy"])),
            "cost_micros": draw(st.one_of(st.none(), st.integers(0, 10**7))),
            "tokens": draw(st.integers(0, 10**6)),
        }
        for number in range(draw(st.integers(0, 25)))
    ]
    keys = [request["request_key"] for request in requests]
    prompts = [
        {
            "prompt_key": f"p{number}",
            "at": draw(TIMES),
            "text": draw(st.sampled_from([None, "", "do it\nnow"])),
        }
        for number in range(draw(st.integers(0, 5)))
    ]
    tools = {
        key: draw(st.lists(st.sampled_from(["Read", "Bash", "mcp__t__get"]), max_size=5)) for key in keys
    }
    launching = st.one_of(st.none(), st.sampled_from(keys or ["none"]))
    launched_by = {agent: draw(launching) for agent in ("a1", "a2", "a3")}
    return {"prompts": prompts, "requests": requests, "tools": tools, "launched_by": launched_by}


@given(sessions())
def test_each_level_of_a_cost_tree_adds_up_to_the_one_above(session: dict[str, Any]) -> None:
    root = attribute("s", **session)
    requests = session["requests"]
    assert root.micros == sum(request["cost_micros"] or 0 for request in requests)
    assert root.tokens == sum(request["tokens"] for request in requests)
    assert root.requests == len(requests)
    assert root.unpriced == sum(request["cost_micros"] is None for request in requests)
    check(root)


def check(node: Node) -> None:
    children = list(node.children.values())
    if node.level == LEVELS[-1]:
        assert children == []
        return
    if node.requests:
        assert sum(child.micros for child in children) == node.micros
        assert sum(child.tokens for child in children) == node.tokens
    if node.level != "skill":
        # One request that asked for several tools is counted with each of them.
        assert sum(child.requests for child in children) == node.requests
    for child in children:
        assert child.level == LEVELS[LEVELS.index(node.level) + 1]
        check(child)


@given(sessions())
def test_the_order_in_which_requests_are_found_does_not_change_a_cost_tree(session: dict[str, Any]) -> None:
    turned = {**session, "requests": session["requests"][::-1]}
    assert attribute("s", **session).to_json() == attribute("s", **turned).to_json()


COUNT = st.integers(0, 5000)
RATES = st.tuples(*[st.integers(0, 50)] * 4)
KINDS = st.sampled_from(["prompt", "answer", "thinking", "tool result", "tool definition", "memory"])


@given(
    st.lists(
        st.tuples(
            st.builds(Sent, COUNT, COUNT, COUNT, COUNT, RATES, st.booleans()),
            st.lists(st.tuples(KINDS, st.integers(0, 3000)), max_size=4),
        ),
        max_size=25,
    )
)
def test_the_items_of_a_context_cost_what_sending_it_did(
    steps: list[tuple[Sent, list[tuple[str, int]]]],
) -> None:
    lane = Lane()
    for sent, arrivals in steps:
        lane.send(sent, [Item(kind, kind, estimate) for kind, estimate in arrivals])
        assert sum(item.live for item in lane.live) == sent.tokens
    items = lane.finish()
    assert sum(item.entry + item.carried for item in items) == sum(sent.cost for sent, _ in steps)
    assert all(item.entry >= 0 and item.carried >= 0 for item in items)
