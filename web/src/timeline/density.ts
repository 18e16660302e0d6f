/** Calls per time bucket by outcome, for the strip above a timeline. */
import type { Outcome, TimelineItem } from "../api/types";

export type OutcomeGroup = "ok" | "failed" | "stopped" | "open";

const GROUP: Record<Outcome, OutcomeGroup> = {
  ok: "ok",
  failed: "failed",
  rejected: "failed",
  denied: "stopped",
  interrupted: "stopped",
  running: "open",
  unknown: "open",
};

export interface Density {
  /** Epoch milliseconds of the first bucket's beginning. */
  start: number;
  /** Milliseconds that each bucket covers. */
  width: number;
  groups: Record<OutcomeGroup, number[]>;
  gaps: number[];
}

const SECOND = 1000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800];

/** The plainest bucket width that needs no more than `most` buckets. */
export function bucketWidth(spanMs: number, most: number): number {
  const step = STEPS.find((seconds) => spanMs / (seconds * SECOND) <= most);
  return (step ?? Math.ceil(spanMs / most / SECOND / 604_800) * 604_800) * SECOND;
}

/** A bucket width in words, in its largest whole unit. */
export function stepWord(milliseconds: number): string {
  const units: [number, string][] = [[604_800, "weeks"], [86_400, "d"], [3600, "h"], [60, "min"]];
  const seconds = milliseconds / SECOND;
  const [size, unit] = units.find(([length]) => seconds >= length) ?? [1, "s"];
  return `${seconds / size} ${unit}`;
}

export function density(items: readonly TimelineItem[], most = 160): Density | null {
  // An item without a known time has order 0 and no place on a time axis.
  const first = items.find((item) => item.order > 0);
  const last = items[items.length - 1];
  if (!first || !last) return null;
  const width = bucketWidth(Math.max(SECOND, last.order - first.order + 1), most - 1);
  const start = Math.floor(first.order / width) * width;
  const count = Math.floor((last.order - start) / width) + 1;
  const zeros = () => new Array<number>(count).fill(0);
  const result: Density = {
    start,
    width,
    groups: { ok: zeros(), failed: zeros(), stopped: zeros(), open: zeros() },
    gaps: zeros(),
  };
  for (const item of items) {
    const place = Math.floor((item.order - start) / width);
    const counts = item.kind === "gap" ? result.gaps : item.call ? result.groups[GROUP[item.call.outcome]] : null;
    if (counts && place >= 0 && place < count) counts[place] = (counts[place] ?? 0) + 1;
  }
  return result;
}
