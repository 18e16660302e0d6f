/** The one live store of the page: status, connection state, and the changed rows, paced and pausable. */
import { computed, onScopeDispose, ref, shallowRef } from "vue";
import type { LiveMessage, SessionRow, Status, TimelineItem } from "../api/types";
import { LiveBuffer } from "./buffer";
import { LiveConnection, type ConnectionState } from "./connection";

/** Items go out quickly (a call must be on the page within 250 ms); counters tick once a second. */
const ITEM_PACE_MS = 80;
const SESSION_PACE_MS = 1000;

const status = shallowRef<Status | null>(null);
const state = ref<ConnectionState>("stopped");
const retryAt = ref<number | null>(null);
const paused = ref(false);
const held = ref(0);
const buffer = new LiveBuffer();
const sessionListeners = new Set<(rows: SessionRow[]) => void>();
const itemListeners = new Set<(session: string, items: TimelineItem[]) => void>();
const readyListeners = new Set<(session: string) => void>();
const resumeListeners = new Set<() => void>();
let itemTimer: ReturnType<typeof setTimeout> | null = null;
let sessionTimer: ReturnType<typeof setTimeout> | null = null;

function flushItems(): void {
  itemTimer = null;
  if (paused.value) return;
  for (const [session, items] of buffer.takeItems()) for (const tell of itemListeners) tell(session, items);
}

function flushSessions(): void {
  sessionTimer = null;
  if (paused.value) return;
  const rows = buffer.takeSessions();
  if (rows.length > 0) for (const tell of sessionListeners) tell(rows);
}

function receive(message: LiveMessage): void {
  if (message.status) status.value = message.status;
  // Empty, and yet it tells something: whatever changes in that session from here on is sent.
  if (message.type === "items" && message.items.length === 0 && message.session_id !== null) {
    const session = message.session_id;
    readyListeners.forEach((tell) => tell(session));
  }
  buffer.add(message);
  if (paused.value) {
    held.value = buffer.size;
    return;
  }
  if (message.items.length > 0) itemTimer ??= setTimeout(flushItems, ITEM_PACE_MS);
  if (message.sessions.length > 0) sessionTimer ??= setTimeout(flushSessions, SESSION_PACE_MS);
}

const connection = new LiveConnection({
  open: () => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    return new WebSocket(`${scheme}//${location.host}/api/live`);
  },
  onMessage: receive,
  onState: (next, at) => {
    state.value = next;
    retryAt.value = at;
  },
  onResume: () => resumeListeners.forEach((tell) => tell()),
});

let started = false;

/** Opens the stream once for the page's life. */
export function startLive(): void {
  if (started) return;
  started = true;
  connection.start();
  addEventListener("online", () => connection.retryNow());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") connection.retryNow();
  });
}

function setPaused(value: boolean): void {
  paused.value = value;
  if (value) return;
  held.value = 0;
  flushItems();
  flushSessions();
}

function listen<T>(set: Set<T>, listener: T): void {
  set.add(listener);
  onScopeDispose(() => set.delete(listener));
}

export function useLive() {
  return {
    status,
    state: computed(() => state.value),
    retryAt: computed(() => retryAt.value),
    paused: computed(() => paused.value),
    held: computed(() => held.value),
    setPaused,
    setStatus: (next: Status) => {
      status.value = next;
    },
    subscribe: (session: string | null) => connection.subscribe(session),
    retryNow: () => connection.retryNow(),
    /** Listeners live as long as the component that adds them. */
    onSessions: (listener: (rows: SessionRow[]) => void) => listen(sessionListeners, listener),
    onItems: (listener: (session: string, items: TimelineItem[]) => void) => listen(itemListeners, listener),
    /** The session is being watched: what is read from now on and what is sent leave nothing out between them. */
    onReady: (listener: (session: string) => void) => listen(readyListeners, listener),
    onResume: (listener: () => void) => listen(resumeListeners, listener),
  };
}
