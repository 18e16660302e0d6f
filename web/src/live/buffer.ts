/** Gathers live messages between two flushes, and holds them while paused; a later row replaces an earlier one. */
import type { LiveMessage, SessionRow, TimelineItem } from "../api/types";

export class LiveBuffer {
  private sessions = new Map<string, SessionRow>();
  private items = new Map<string, Map<string, TimelineItem>>();

  add(message: LiveMessage): void {
    for (const row of message.sessions) this.sessions.set(row.session_id, row);
    if (message.items.length === 0 || message.session_id === null) return;
    let held = this.items.get(message.session_id);
    if (!held) this.items.set(message.session_id, (held = new Map()));
    for (const item of message.items) held.set(item.key, item);
  }

  /** Rows and items that are waiting. */
  get size(): number {
    let count = this.sessions.size;
    for (const held of this.items.values()) count += held.size;
    return count;
  }

  takeSessions(): SessionRow[] {
    const rows = [...this.sessions.values()];
    this.sessions.clear();
    return rows;
  }

  takeItems(): [string, TimelineItem[]][] {
    const all = [...this.items].map(([id, held]): [string, TimelineItem[]] => [id, [...held.values()]]);
    this.items.clear();
    return all;
  }
}
