/** From timeline items to the rows that are shown: merged by key, filtered, indented by agent, broken by day. */
import type { CallRow, ItemKind, Outcome, TimelineItem } from "../api/types";
import { epoch } from "../format/time";

export interface TimelineFilter {
  kinds: ReadonlySet<string>;
  outcomes: ReadonlySet<string>;
  tools: ReadonlySet<string>;
  agents: ReadonlySet<string>;
  words: string;
}

export type TimelineRow =
  | { type: "item"; key: string; item: TimelineItem; depth: number; lane: number | null }
  | { type: "day"; key: string; at: number };

/** The main agent in filters and addresses, since it has no id. */
export const MAIN_AGENT = "main";

export interface Agent {
  id: string;
  label: string;
  depth: number;
  /** Position among the session's agents, from 0; decides the lane's colour. */
  lane: number;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/**
 * The session's subagents with their nesting depth, found by following each one's parent call to the agent that made it.
 * A parent that is not on record counts as the main agent's.
 */
export function arrangeAgents(
  raw: readonly Record<string, unknown>[],
  callAgent: (toolUseId: string) => string | null,
): Map<string, Agent> {
  const parents = new Map<string, string | null>();
  for (const agent of raw) {
    const id = text(agent["agent_id"]);
    if (id === null) continue;
    const parentCall = text(agent["parent_tool_use_id"]);
    parents.set(id, text(agent["parent_agent_id"]) ?? (parentCall === null ? null : callAgent(parentCall)));
  }
  const depthOf = (id: string, seen: Set<string>): number => {
    const parent = parents.get(id) ?? null;
    if (parent === null || seen.has(parent) || !parents.has(parent)) return 1;
    return 1 + depthOf(parent, seen.add(parent));
  };
  const arranged = new Map<string, Agent>();
  for (const agent of raw) {
    const id = text(agent["agent_id"]);
    if (id === null || arranged.has(id)) continue;
    const label = text(agent["agent_type"]) ?? "subagent";
    arranged.set(id, { id, label, depth: depthOf(id, new Set([id])), lane: arranged.size });
  }
  return arranged;
}

/** The call a gap item is about, where it is about one. */
export function gapCall(item: TimelineItem): string | null {
  if (item.kind !== "gap") return null;
  return item.call?.tool_use_id ?? text(item.data["tool_use_id"]) ?? item.key.slice(item.key.indexOf(":") + 1);
}

/** The order of items of one instant, as the server pages them. */
const KIND_PLACE: Record<ItemKind, number> = { subagent: 0, prompt: 1, message: 2, call: 3, gap: 4, event: 5, finding: 6 };

function inOrder(a: TimelineItem, b: TimelineItem): number {
  return a.order - b.order || KIND_PLACE[a.kind] - KIND_PLACE[b.kind] || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

/**
 * Merges new items into those at hand by key; a gap row goes away once its call is whole again. Sorted by time.
 */
export function mergeItems(held: Map<string, TimelineItem>, added: readonly TimelineItem[]): TimelineItem[] {
  const whole = new Set<string>();
  for (const item of added) {
    held.set(item.key, item);
    if (item.kind === "call" && item.call && item.call.gap === null) whole.add(item.call.tool_use_id);
  }
  if (whole.size > 0) {
    for (const [key, item] of held) {
      const about = gapCall(item);
      if (about !== null && whole.has(about)) held.delete(key);
    }
  }
  return [...held.values()].sort(inOrder);
}

/** What a row is found under: everything it shows, in lower case. */
export function searchText(item: TimelineItem): string {
  const call = item.call;
  const parts = call
    ? [call.tool, call.subject, call.error, call.outcome, call.tool_use_id]
    : [item.name, item.text, text(item.data["explanation"]), text(item.data["description"])];
  return parts.filter(Boolean).join("\n").toLowerCase();
}

export function passes(item: TimelineItem, filter: TimelineFilter): boolean {
  if (filter.kinds.size > 0 && !filter.kinds.has(item.kind)) return false;
  if (filter.agents.size > 0 && !filter.agents.has(item.agent_id ?? MAIN_AGENT)) return false;
  if (filter.outcomes.size > 0 && !(item.call && filter.outcomes.has(item.call.outcome))) return false;
  if (filter.tools.size > 0 && !(item.call?.tool && filter.tools.has(item.call.tool))) return false;
  if (filter.words === "") return true;
  const found = searchText(item);
  return filter.words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => found.includes(word));
}

function localDay(at: number): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

/** Rows to show, with a break where the local day changes. */
export function buildRows(
  items: readonly TimelineItem[],
  filter: TimelineFilter,
  agents: ReadonlyMap<string, Agent>,
): TimelineRow[] {
  const rows: TimelineRow[] = [];
  let lastDay: string | null = null;
  for (const item of items) {
    if (!passes(item, filter)) continue;
    const at = epoch(item.at);
    if (at !== null) {
      const today = localDay(at);
      if (lastDay !== null && today !== lastDay) rows.push({ type: "day", key: `day:${today}`, at });
      lastDay = today;
    }
    const agent = item.agent_id === null ? undefined : agents.get(item.agent_id);
    const depth = item.agent_id === null ? 0 : (agent?.depth ?? 1);
    rows.push({ type: "item", key: item.key, item, depth, lane: agent?.lane ?? null });
  }
  return rows;
}

export interface Facets {
  kinds: [ItemKind, number][];
  outcomes: [Outcome, number][];
  tools: [string, number][];
  agents: [string, number][];
}

const KIND_ORDER: ItemKind[] = ["prompt", "message", "call", "event", "subagent", "gap", "finding"];
const OUTCOME_ORDER: Outcome[] = ["ok", "failed", "denied", "interrupted", "rejected", "running", "unknown"];

/** What can be filtered by, with counts over all items; tools and agents most frequent first. */
export function countFacets(items: readonly TimelineItem[]): Facets {
  const kinds = new Map<ItemKind, number>();
  const outcomes = new Map<Outcome, number>();
  const tools = new Map<string, number>();
  const agents = new Map<string, number>();
  const add = <K>(map: Map<K, number>, key: K) => map.set(key, (map.get(key) ?? 0) + 1);
  for (const item of items) {
    add(kinds, item.kind);
    add(agents, item.agent_id ?? MAIN_AGENT);
    if (item.kind !== "call" || !item.call) continue;
    add(outcomes, item.call.outcome);
    if (item.call.tool) add(tools, item.call.tool);
  }
  const ordered = <K>(order: K[], map: Map<K, number>) =>
    order.flatMap((key): [K, number][] => (map.has(key) ? [[key, map.get(key) ?? 0]] : []));
  const frequent = (map: Map<string, number>) => [...map].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return {
    kinds: ordered(KIND_ORDER, kinds),
    outcomes: ordered(OUTCOME_ORDER, outcomes),
    tools: frequent(tools),
    agents: frequent(agents),
  };
}

/** The witnesses' marks: H for any hook, T for any transcript line, O telemetry, P proxy. */
export function witnessMarks(call: CallRow): string[] {
  const marks = new Set<string>();
  for (const witness of call.witnesses) {
    const kind = witness.split(".")[0];
    if (kind) marks.add(kind);
  }
  return [...marks];
}
