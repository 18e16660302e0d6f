/** Order and fitting of session rows, apart from how they are shown. */
import type { SessionRow } from "../api/types";
import { epoch } from "../format/time";

/** Live ones first by their beginning, so that activity does not shuffle them; the others by their last event. */
export function sortSessions(rows: readonly SessionRow[]): SessionRow[] {
  const at = (row: SessionRow) => epoch(row.live ? row.started_at : row.last_at) ?? 0;
  return [...rows].sort(
    (a, b) => Number(b.live) - Number(a.live) || at(b) - at(a) || (a.session_id < b.session_id ? -1 : 1),
  );
}

const SPAN: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Whether a row that the live stream brings fits the list's filter; null when only the server can tell. */
export function fits(row: SessionRow, filter: { q: string; project: string; since: string }, now: number): boolean | null {
  if (filter.project !== "" && row.project !== filter.project) return false;
  if (filter.q !== "") return null;
  const stretch = /^(\d+)([mhdw])$/.exec(filter.since);
  if (stretch) return (epoch(row.last_at) ?? 0) >= now - Number(stretch[1]) * (SPAN[stretch[2] ?? "d"] ?? 0);
  return filter.since === "" || filter.since === "all" ? true : null;
}

/** Model ids as read at a glance: the maker's prefix and the date go, the rest stays as it is. */
export function shortModel(model: string): string {
  return model.replace(/^claude-/, "").replace(/-20\d{6}$/, "");
}
