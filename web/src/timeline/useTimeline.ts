/** One session's timeline: loaded in pages, kept up by the live stream. */
import { onScopeDispose, ref, shallowRef } from "vue";
import { api, asApiError, type ApiError } from "../api/client";
import type { SessionDetail, TimelineItem } from "../api/types";
import { useLive } from "../live/store";
import { mergeItems } from "./rows";

const FIRST_PAGE = 1000;
const NEXT_PAGES = 10_000;
/** How long to wait for the stream to say that it watches the session before reading without it. */
const READY_WAIT_MS = 400;

export function useTimeline(session: string) {
  const live = useLive();
  const detail = shallowRef<SessionDetail | null>(null);
  const items = shallowRef<TimelineItem[]>([]);
  const total = ref(0);
  const loading = ref(true);
  const error = shallowRef<ApiError | null>(null);
  /** Keys of items that arrived live since the reader last was at the end. */
  const arrived = ref(0);
  let held = new Map<string, TimelineItem>();
  let controller = new AbortController();

  async function load(): Promise<void> {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    loading.value = true;
    try {
      const [found] = await Promise.all([api.session(session, signal), loadItems(signal)]);
      detail.value = found;
      error.value = null;
    } catch (thrown) {
      if (signal.aborted) return;
      error.value = asApiError(thrown);
    }
    loading.value = false;
  }

  async function loadItems(signal: AbortSignal): Promise<void> {
    const fresh = new Map<string, TimelineItem>();
    const before = held;
    let cursor: string | null = null;
    do {
      const page = await api.timeline(session, cursor, cursor === null ? FIRST_PAGE : NEXT_PAGES, signal);
      total.value = page.total;
      const merged = mergeItems(fresh, page.items);
      // The first reading shows page by page; a later one replaces all at its end, so that nothing flickers.
      if (before.size === 0) items.value = merged;
      cursor = page.next;
    } while (cursor !== null);
    const meanwhile = [...early.values()];
    early.clear();
    items.value = mergeItems(fresh, meanwhile);
    held = fresh;
  }

  /** Items that arrive while pages are being read; they are newer than the pages. */
  const early = new Map<string, TimelineItem>();

  live.onItems((id, added) => {
    if (id !== session) return;
    if (loading.value) {
      for (const item of added) early.set(item.key, item);
      return;
    }
    const before = held.size;
    items.value = mergeItems(held, added);
    total.value = held.size;
    arrived.value += Math.max(0, held.size - before);
  });
  live.onSessions((rows) => {
    const row = rows.find((candidate) => candidate.session_id === session);
    if (row && detail.value) detail.value = { ...detail.value, session: row };
  });

  let agentsTimer: ReturnType<typeof setTimeout> | null = null;
  /** Asks for the session's head again, as when an agent appears that is not known yet. */
  function refreshDetail(): void {
    agentsTimer ??= setTimeout(() => {
      agentsTimer = null;
      api.session(session).then(
        (found) => (detail.value = found),
        () => undefined, // The head stays as it is; the next change asks again.
      );
    }, 1000);
  }

  const fallback = setTimeout(() => void load(), READY_WAIT_MS);
  live.onReady((id) => {
    if (id !== session) return;
    clearTimeout(fallback);
    void load();
  });
  live.subscribe(session);
  onScopeDispose(() => {
    clearTimeout(fallback);
    if (agentsTimer) clearTimeout(agentsTimer);
    controller.abort();
    live.subscribe(null);
  });

  return { detail, items, total, loading, error, arrived, load, refreshDetail };
}
