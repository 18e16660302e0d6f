import { describe, expect, it } from "vitest";
import type { CallRow, TimelineItem } from "../api/types";
import { bucketWidth, density, stepWord } from "./density";
import { RowOffsets } from "./offsets";
import { arrangeAgents, buildRows, mergeItems, type TimelineFilter } from "./rows";

const START = Date.UTC(2026, 10, 1, 12);

function item(kind: TimelineItem["kind"], key: string, seconds: number, more: Partial<TimelineItem> = {}): TimelineItem {
  const order = START + seconds * 1000;
  return { key: `${kind}:${key}`, at: new Date(order).toISOString(), order, kind, agent_id: null, name: kind, text: null, call: null, data: {}, ...more };
}

function call(id: string, seconds: number, more: Partial<CallRow> = {}): TimelineItem {
  const row = { tool_use_id: id, tool: "Bash", subject: "make test", outcome: "ok", gap: null, error: null, witnesses: [], ...more };
  return item("call", id, seconds, { call: row as unknown as CallRow });
}

const none: TimelineFilter = { kinds: new Set(), outcomes: new Set(), tools: new Set(), agents: new Set(), words: "" };

describe("merging items", () => {
  it("replaces by key and sorts late arrivals to their time", () => {
    const held = new Map<string, TimelineItem>();
    mergeItems(held, [call("a", 5), call("c", 9)]);
    const merged = mergeItems(held, [call("b", 7), call("c", 9, { outcome: "failed" })]);
    expect(merged.map((entry) => entry.key)).toEqual(["call:a", "call:b", "call:c"]);
    expect(merged[2]?.call?.outcome).toBe("failed");
  });

  it("takes a gap away once its call is whole, and no other", () => {
    const held = new Map<string, TimelineItem>();
    mergeItems(held, [call("a", 1, { gap: "hook_missing" }), item("gap", "a", 1), call("b", 2, { gap: "x" }), item("gap", "b", 2)]);
    const merged = mergeItems(held, [call("a", 1)]);
    expect(merged.map((entry) => entry.key)).toEqual(["call:a", "call:b", "gap:b"]);
  });
});

describe("rows", () => {
  it("keep what passes every facet and all words", () => {
    const items = [call("a", 1), call("b", 2, { tool: "Read", subject: "Total.ts" }), item("prompt", "p", 3, { text: "total" })];
    const keys = (filter: Partial<TimelineFilter>) => buildRows(items, { ...none, ...filter }, new Map()).map((row) => row.key);
    expect(keys({ tools: new Set(["Read"]) })).toEqual(["call:b"]);
    expect(keys({ words: "total" })).toEqual(["call:b", "prompt:p"]);
    expect(keys({ words: "total read" })).toEqual(["call:b"]);
    expect(keys({ kinds: new Set(["prompt"]), outcomes: new Set(["ok"]) })).toEqual([]);
  });

  it("break where the day changes", () => {
    const rows = buildRows([call("a", 0), call("b", 86_400)], none, new Map());
    expect(rows.map((row) => row.type)).toEqual(["item", "day", "item"]);
  });

  it("are indented by how deep their agent is nested, loops or not", () => {
    const agents = arrangeAgents(
      [
        { agent_id: "x", parent_tool_use_id: "t1" },
        { agent_id: "y", parent_tool_use_id: "t2" },
        { agent_id: "l1", parent_agent_id: "l2" },
        { agent_id: "l2", parent_agent_id: "l1" },
      ],
      (id) => (id === "t2" ? "x" : null),
    );
    expect([agents.get("x")?.depth, agents.get("y")?.depth]).toEqual([1, 2]);
    expect(agents.get("l1")?.depth).toBe(2);
  });
});

describe("density", () => {
  it("counts every call once and leaves items without a time out", () => {
    const items = [{ ...call("z", 0), order: 0, at: null }, call("a", 0), call("b", 61, { outcome: "denied" }), item("gap", "b", 61)];
    const found = density(items, 10);
    const sum = (counts: number[] = []) => counts.reduce((all, count) => all + count, 0);
    expect(sum(found?.groups.ok)).toBe(1);
    expect(sum(found?.groups.stopped)).toBe(1);
    expect(sum(found?.gaps)).toBe(1);
    expect(found?.gaps.length).toBeLessThanOrEqual(10);
  });

  it("has no axis without a time", () => {
    expect(density([])).toBeNull();
  });

  it("takes the plainest width that is wide enough, and says it in words", () => {
    expect(bucketWidth(3_600_000, 60)).toBe(60_000);
    expect([stepWord(10_000), stepWord(900_000), stepWord(86_400_000)]).toEqual(["10 s", "15 min", "1 d"]);
  });
});

describe("row offsets", () => {
  it("find the row at a pixel, with measured heights in place of estimates", () => {
    const offsets = new RowOffsets(() => 20);
    offsets.setKeys(Array.from({ length: 10_000 }, (_, index) => `k${index}`));
    expect(offsets.total).toBe(200_000);
    expect(offsets.setHeight("k10", 120)).toBe(100);
    expect(offsets.startOf(11)).toBe(320);
    expect([offsets.indexAt(199), offsets.indexAt(200), offsets.indexAt(319), offsets.indexAt(320)]).toEqual([9, 10, 10, 11]);
    expect(offsets.indexAt(1e9)).toBe(9999);
  });

  it("keep a measured height when rows are put before it", () => {
    const offsets = new RowOffsets(() => 20);
    offsets.setKeys(["a", "b"]);
    offsets.setHeight("a", 50);
    offsets.setKeys(["n", "a", "b"]);
    expect(offsets.startOf(2)).toBe(70);
  });
});
