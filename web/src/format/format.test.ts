import { expect, it } from "vitest";
import { errorFromBody } from "../api/client";
import { resolve, type Binding } from "../keyboard/keys";
import { fits, shortModel, sortSessions } from "../screens/sessionRows";
import type { SessionRow } from "../api/types";
import { toolCategory } from "../theme/categories";
import { bytes, dollars, percent } from "./number";
import { relative, span } from "./time";
import { tsv } from "./tsv";

it("never rounds a share up to all of it", () => {
  expect([percent(0.99999), percent(1), percent(0.9667), percent(0)]).toEqual(["99.9 %", "100 %", "96.6 %", "0.0 %"]);
});

it("shows small money with the digits that matter", () => {
  expect([dollars("0.001234"), dollars("0.00001"), dollars("0"), dollars("1234.5")]).toEqual(["$0.0012", "<$0.0001", "$0.00", "$1,234.50"]);
});

it("says spans in at most two units", () => {
  expect([span(850), span(1240), span(59_990), span(123_000), span(3_840_000)]).toEqual(["850 ms", "1.24 s", "59.9 s", "2 min 03 s", "1 h 04 min"]);
});

it("says how long ago", () => {
  const now = Date.UTC(2026, 10, 21, 12);
  expect([relative(now - 1000, now), relative(now - 59_000, now), relative(now - 3_600_000, now)]).toEqual(["now", "59 s ago", "1 h ago"]);
});

it("says bytes in decimal units", () => {
  expect([bytes(999), bytes(1500), bytes(911_000_000)]).toEqual(["999 B", "1.5 kB", "911 MB"]);
});

it("makes cells that a spreadsheet does not run", () => {
  expect(tsv([["a\tb", 1, null], ["=1+1", "x\ny", 0]])).toBe("a b\t1\t\n'=1+1\tx y\t0");
});

it("gives a tool one colour always, and the tools of one server the same", () => {
  expect(toolCategory("Bash")).toBe(1);
  expect(toolCategory("mcp__tracker__a")).toBe(toolCategory("mcp__tracker__b", "tracker"));
});

it("reads two keys as a sequence and prefers the binding added last", () => {
  const binding = (keys: string): Binding => ({ keys, does: keys, run: () => undefined });
  const list = [binding("j"), binding("g s"), binding("j")];
  expect(resolve(list, null, "j").binding).toBe(list[2]);
  expect(resolve(list, null, "g").pending).toBe(true);
  expect(resolve(list, "g", "s").binding).toBe(list[1]);
  expect(resolve(list, null, "s").binding).toBeNull();
});

it("keeps what, why, hint and place of an error, and says how to sign in", () => {
  const error = errorFromBody(400, { error: { code: "usage", what: "w", why: "y", hint: "h", place: "p" } });
  expect([error.code, error.what, error.why, error.hint, error.place]).toEqual(["usage", "w", "y", "h", "p"]);
  expect(errorFromBody(401, "<html>").hint).toContain("wk url");
});

it("lists live sessions first, without activity shuffling them", () => {
  const row = (id: string, live: boolean, started: string, last: string) => ({ session_id: id, live, started_at: started, last_at: last }) as SessionRow;
  const rows = [row("old", false, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), row("a", true, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"), row("b", true, "2026-01-01T01:00:00Z", "2026-01-02T00:00:00Z")];
  expect(sortSessions(rows).map((entry) => entry.session_id)).toEqual(["b", "a", "old"]);
});

it("tells whether a live row fits the list, or that only the server can", () => {
  const row = { project: "app", last_at: "2026-01-01T00:00:00Z" } as SessionRow;
  const now = Date.parse("2026-01-03T00:00:00Z");
  expect(fits(row, { q: "", project: "other", since: "all" }, now)).toBe(false);
  expect(fits(row, { q: "", project: "", since: "24h" }, now)).toBe(false);
  expect(fits(row, { q: "", project: "app", since: "7d" }, now)).toBe(true);
  expect(fits(row, { q: "word", project: "", since: "all" }, now)).toBeNull();
});

it("shortens model ids to what tells them apart", () => {
  expect(shortModel("claude-sonnet-4-5-20250929")).toBe("sonnet-4-5");
});
