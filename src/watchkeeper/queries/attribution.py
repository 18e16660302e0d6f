"""Where the money of a session went: prompt, turn, agent, skill, tool; each level adds up to the one above, exactly.

- A *turn* is one API request of the main agent with what it set going: the requests of a subagent belong to the turn
  that launched it, also when it outlives the prompt.
- A request belongs to the latest prompt before it. What precedes every prompt, has no time, or used no tool is named
  so.
- The cost of one request is divided evenly over the calls it asked for, in whole micro-dollars (largest remainder): the
  provider bills the request, not its calls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from watchkeeper.queries.forms import dollars, project_name, rfc3339
from watchkeeper.queries.shares import divide
from watchkeeper.queries.stats import COUNTED
from watchkeeper.queries.stretches import Stretch
from watchkeeper.store.sqlite.reading import Reader

Row = dict[str, Any]

LEVELS = ("session", "prompt", "turn", "agent", "skill", "tool")
BEFORE_PROMPTS = "before the first prompt"
WITHOUT_TIME = "without a time"
NO_TURN = "before the first turn"
NO_SKILL = "no skill"
NO_TOOL = "no tool (answer)"
MAIN_AGENT = "main agent"
INLINE_AGENT = "subagent without an id"


@dataclass(slots=True)
class Node:
    """One place that cost something.

    Attributes:
        level: One of `LEVELS`.
        key: What tells it from its siblings.
        name: What it is called.
        at: When it began, where that is known.
        micros: Its cost in micro-dollars.
        requests: API requests in it; at the level of tools, those in which the tool was called.
        unpriced: Of these, requests whose cost nobody knows; they are not in `micros`.
        tokens: All tokens of its requests; at the level of tools its share.
        children: The level below, in the order of arrival.
    """

    level: str
    key: str
    name: str
    at: int | None = None
    micros: int = 0
    requests: int = 0
    unpriced: int = 0
    tokens: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    def child(self, key: str, name: str, at: int | None = None) -> Node:
        """Return the child of this key, made where it is missing."""
        found = self.children.get(key)
        if found is None:
            level = LEVELS[LEVELS.index(self.level) + 1]
            found = self.children[key] = Node(level, key, name, at)
        return found

    def add(self, micros: int, tokens: int, *, unpriced: bool) -> None:
        """Count one request, or a share of one, into this node."""
        self.micros += micros
        self.tokens += tokens
        self.requests += 1
        self.unpriced += unpriced

    def to_json(self, depth: int | None = None) -> Row:
        """Return the tree in the published form, to a depth below this node; all of it when absent."""
        document: Row = {
            "level": self.level,
            "key": self.key,
            "name": self.name,
            "at": rfc3339(self.at),
            "cost_usd": dollars(self.micros) if self.unpriced < self.requests or not self.requests else None,
            "requests": self.requests,
            "unpriced_requests": self.unpriced,
            "tokens": self.tokens,
        }
        if depth is None or depth > 0:
            below = None if depth is None else depth - 1
            document["children"] = [child.to_json(below) for child in self.children.values()]
        return document


class Placing:
    """Finds prompt and turn of the requests of one session.

    Args:
        prompts: Rows with ``prompt_key``, ``at`` and ``text``.
        requests: Rows with ``request_key``, ``agent_id``, ``sidechain`` and ``at``.
        launched_by: For each subagent the request that asked for it, where that is known.
    """

    def __init__(self, prompts: list[Row], requests: list[Row], launched_by: dict[str, str | None]) -> None:
        self._prompts = sorted(
            (row for row in prompts if row["at"] is not None), key=lambda row: (row["at"], row["prompt_key"])
        )
        self._prompt_times = [row["at"] for row in self._prompts]
        main = [row for row in requests if is_main(row) and row["at"] is not None]
        self._turns = sorted(main, key=lambda row: (row["at"], row["request_key"]))
        self._turn_times = [row["at"] for row in self._turns]
        self._by_key = {row["request_key"]: row for row in requests}
        self._launched_by = launched_by

    def turn_of(self, request: Row) -> Row | None:
        """Return the main agent's request that a request belongs to, or ``None``."""
        seen: set[str] = set()
        while not is_main(request):
            agent = request["agent_id"]
            launching = (
                self._by_key.get(self._launched_by.get(agent) or "") if agent and agent not in seen else None
            )
            if launching is None:
                place = -1 if request["at"] is None else bisect_right(self._turn_times, request["at"]) - 1
                return self._turns[place] if place >= 0 else None
            seen.add(agent)
            request = launching
        return request

    def prompt_of(self, at: int | None) -> Row | None:
        """Return the latest prompt at or before a time, or ``None``."""
        place = -1 if at is None else bisect_right(self._prompt_times, at) - 1
        return self._prompts[place] if place >= 0 else None


def is_main(request: Row) -> bool:
    """Tell whether the main agent made a request."""
    return request["agent_id"] is None and not request["sidechain"]


def attribute(
    session_id: str,
    prompts: list[Row],
    requests: list[Row],
    tools: dict[str, list[str]],
    launched_by: dict[str, str | None],
    agent_names: dict[str, str] | None = None,
) -> Node:
    """Return the tree of one session.

    Args:
        session_id: Names the root.
        prompts: As `Placing` takes them.
        requests: The same, with ``cost_micros``, ``tokens`` and ``skill``.
        tools: For each request the tools of the calls that it asked for.
        launched_by: As `Placing` takes it.
        agent_names: What subagents are called.
    """
    placing = Placing(prompts, requests, launched_by)
    names = agent_names or {}
    root = Node("session", session_id, session_id)
    for request in sorted(requests, key=lambda row: (row["at"] is None, row["at"] or 0, row["request_key"])):
        turn_row = placing.turn_of(request)
        at = request["at"] if turn_row is None else turn_row["at"]
        prompt_row = placing.prompt_of(at)
        if prompt_row is not None:
            prompt = root.child(prompt_row["prompt_key"], prompt_name(prompt_row), prompt_row["at"])
        else:
            rest = WITHOUT_TIME if at is None else BEFORE_PROMPTS
            prompt = root.child(f"({rest})", rest)
        if turn_row is None:
            turn = prompt.child(f"({NO_TURN})", NO_TURN, at)
        else:
            key = turn_row["request_key"]
            turn = prompt.children.get(key) or prompt.child(key, f"turn {len(prompt.children) + 1}", at)
        agent_key = request["agent_id"] or ("(main)" if is_main(request) else "(inline)")
        shown = MAIN_AGENT if is_main(request) else names.get(request["agent_id"] or "", INLINE_AGENT)
        agent = turn.child(agent_key, shown, request["at"])
        skill = agent.child(request["skill"] or f"({NO_SKILL})", request["skill"] or NO_SKILL)
        unpriced = request["cost_micros"] is None
        micros, tokens = request["cost_micros"] or 0, request["tokens"]
        for node in (root, prompt, turn, agent, skill):
            node.add(micros, tokens, unpriced=unpriced)
        _to_tools(skill, tools.get(request["request_key"]) or [], micros, tokens, unpriced=unpriced)
    return root


def _to_tools(skill: Node, tools: list[str], micros: int, tokens: int, *, unpriced: bool) -> None:
    if not tools:
        skill.child(f"({NO_TOOL})", NO_TOOL).add(micros, tokens, unpriced=unpriced)
        return
    weights: dict[str, int] = {}
    for tool in tools:
        weights[tool] = weights.get(tool, 0) + 1
    costs, counts = divide(micros, list(weights.values())), divide(tokens, list(weights.values()))
    for tool, cost, count in zip(weights, costs, counts, strict=True):
        skill.child(tool, tool).add(cost, count, unpriced=unpriced)


def prompt_name(prompt: Row) -> str:
    """Return the beginning of a prompt on one line."""
    text = " ".join((prompt["text"] or "").split())
    return text[:120] or "prompt without text"


_TOKENS = """coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_write_tokens, 0)
  + coalesce(cache_read_tokens, 0) AS tokens"""
_REQUESTS = (
    f"SELECT request_key, session_id, agent_id, sidechain, at, skill, cost_micros, {_TOKENS} FROM requests"
)
_LAUNCHES = """SELECT a.session_id, a.agent_id, a.agent_type, a.description, c.message_id
  FROM subagents a LEFT JOIN calls c ON c.tool_use_id = a.parent_tool_use_id"""


def session_cost(reader: Reader, session_id: str) -> dict[str, Any]:
    """Return the tree of one session with its total, and the client's own total beside it.

    Args:
        reader: The index.
        session_id: The whole id.
    """
    requests = list(reader.rows(f"{_REQUESTS} WHERE session_id = ? AND {COUNTED}", (session_id,)))
    prompts = list(
        reader.rows(
            "SELECT prompt_key, session_id, at, text FROM prompts WHERE session_id = ?", (session_id,)
        )
    )
    tools: dict[str, list[str]] = defaultdict(list)
    for key, tool in reader.connection.execute(
        "SELECT message_id, coalesce(tool, 'unknown') FROM calls WHERE session_id = ? AND message_id IS NOT NULL"
        " ORDER BY started_at, tool_use_id",
        (session_id,),
    ):
        tools[key].append(tool)
    launched_by, names = {}, {}
    for row in reader.rows(f"{_LAUNCHES} WHERE a.session_id = ?", (session_id,)):
        launched_by[row["agent_id"]] = row["message_id"]
        names[row["agent_id"]] = _agent_name(row)
    tree = attribute(session_id, prompts, requests, tools, launched_by, names)
    session = reader.row(
        "SELECT cost_micros, cost_incomplete, coalesce(project_path, cwd) AS path FROM sessions WHERE session_id = ?",
        (session_id,),
    )
    reported = None if session is None else session["cost_micros"]
    return {
        "session_id": session_id,
        "project": project_name(session["path"]) if session else None,
        "tree": tree.to_json(),
        "by": {level: _level_sums(tree, level) for level in ("agent", "skill", "tool")},
        "client_total_usd": dollars(reported),
        "not_in_transcripts_usd": _difference(reported, tree),
    }


def _difference(reported: int | None, tree: Node) -> str | None:
    """Return by how much the client's own total exceeds ours: helper requests that no line shows."""
    if reported is None or tree.unpriced:
        return None
    over = reported - tree.micros
    return dollars(over) if over >= 0 else f"-{dollars(-over)}"


def _agent_name(row: Row) -> str:
    kind = row["agent_type"] or "subagent"
    return f"{kind}: {row['description']}" if row["description"] else f"{kind} {row['agent_id'][:8]}"


def _level_sums(tree: Node, level: str) -> list[Row]:
    """Return the sums of one level over the whole tree, dearest first; they add up to the tree's cost."""
    sums: dict[str, Node] = {}

    def walk(node: Node) -> None:
        if node.level == level:
            found = sums.setdefault(node.name, Node(level, node.key, node.name))
            found.micros += node.micros
            found.tokens += node.tokens
            found.requests += node.requests
            found.unpriced += node.unpriced
            return
        for child in node.children.values():
            walk(child)

    walk(tree)
    return [node.to_json(0) for node in sorted(sums.values(), key=lambda node: (-node.micros, node.name))]


def top_prompts(reader: Reader, stretch: Stretch, *, limit: int = 20) -> dict[str, Any]:
    """Return the prompts of a stretch that cost most, and the sums by project.

    A prompt counts with all its requests that fall into the stretch; sums by project add up to the total.
    """
    times = _PromptTimes(reader)
    paths = dict(reader.connection.execute("SELECT session_id, coalesce(project_path, cwd) FROM sessions"))
    total = Node("session", "", "")
    projects: dict[str, Node] = {}
    found: dict[tuple[str | None, str], Node] = {}
    for session, agent, at, micros, tokens in reader.connection.execute(
        f"SELECT session_id, agent_id, at, cost_micros, {_INDEXED_TOKENS} FROM requests"
        f" WHERE {stretch.of_requests()} AND {COUNTED}",
        stretch.bindings,
    ):
        key = times.prompt_of(session, agent, at)
        node = found.get((session, key))
        if node is None:
            node = found[session, key] = Node("prompt", key, key.strip("()"))
        node.add(micros or 0, tokens, unpriced=micros is None)
    for (session, _key), node in found.items():
        project = project_name(paths.get(session)) or "unknown"
        for whole in (total, projects.setdefault(project, Node("session", project, project))):
            _into(whole, node)
    order = sorted(found.items(), key=lambda pair: (-pair[1].micros, pair[0][0] or "", pair[1].key))
    return {
        "stretch": stretch.to_json(),
        "total": _sums(total),
        "prompts": [
            {
                "session_id": session,
                "project": project_name(paths.get(session)) or "unknown",
                **_head(reader, node),
                **_sums(node),
            }
            for (session, _key), node in order[:limit]
        ],
        "prompts_total": len(found),
        "projects": [
            {"project": node.name, **_sums(node)}
            for node in sorted(projects.values(), key=lambda node: (-node.micros, node.name))
        ],
    }


_INDEXED_TOKENS = """coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_write_5m_tokens, 0)
  + coalesce(cache_write_1h_tokens, 0) + coalesce(cache_read_tokens, 0)"""
"""The same tokens from the columns of the index by quarter-hour."""


class _PromptTimes:
    """Finds the prompts of requests of all sessions, by their times; a subagent counts when it was launched."""

    def __init__(self, reader: Reader) -> None:
        self._times: dict[str | None, list[int]] = defaultdict(list)
        self._keys: dict[str | None, list[str]] = defaultdict(list)
        for session, at, key in reader.connection.execute(
            "SELECT session_id, at, prompt_key FROM prompts WHERE at IS NOT NULL ORDER BY session_id, at, prompt_key"
        ):
            self._times[session].append(at)
            self._keys[session].append(key)
        self._launches: dict[str, tuple[str | None, int | None]] = {}
        for agent, parent, at in reader.connection.execute(
            "SELECT a.agent_id, r.agent_id, r.at FROM subagents a JOIN calls c"
            " ON c.tool_use_id = a.parent_tool_use_id JOIN requests r ON r.request_key = c.message_id"
        ):
            self._launches[agent] = parent, at

    def prompt_of(self, session: str | None, agent: str | None, at: int | None) -> str:
        """Return the key of the prompt of a request, or the name of the remainder in brackets."""
        seen = set()
        while agent is not None and agent in self._launches and agent not in seen:
            seen.add(agent)
            agent, at = self._launches[agent]
        if at is None:
            return f"({WITHOUT_TIME})"
        place = bisect_right(self._times[session], at) - 1
        return self._keys[session][place] if place >= 0 else f"({BEFORE_PROMPTS})"


def _head(reader: Reader, node: Node) -> Row:
    prompt = None
    if not node.key.startswith("("):
        prompt = reader.row("SELECT prompt_key, at, text FROM prompts WHERE prompt_key = ?", (node.key,))
    return {
        "prompt_key": prompt["prompt_key"] if prompt else None,
        "at": rfc3339(prompt["at"]) if prompt else None,
        "prompt": prompt_name(prompt) if prompt else node.name,
    }


def _into(whole: Node, part: Node) -> None:
    whole.micros += part.micros
    whole.tokens += part.tokens
    whole.requests += part.requests
    whole.unpriced += part.unpriced


def _sums(node: Node) -> Row:
    document = node.to_json(0)
    return {name: document[name] for name in ("cost_usd", "requests", "unpriced_requests", "tokens")}
