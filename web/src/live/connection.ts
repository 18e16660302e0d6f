/** The live stream's connection: reconnects with back-off and subscribes again by itself. */
import type { LiveMessage } from "../api/types";

export type ConnectionState = "connecting" | "live" | "waiting" | "stopped";

/** The part of WebSocket that is used, so that tests can stand one in. */
export interface SocketLike {
  onopen: ((event: Event) => unknown) | null;
  onmessage: ((event: MessageEvent) => unknown) | null;
  onclose: ((event: CloseEvent) => unknown) | null;
  readonly readyState: number;
  send(text: string): void;
  close(): void;
}

export interface ConnectionOptions {
  open: () => SocketLike;
  onMessage: (message: LiveMessage) => void;
  /** `retryAt` is epoch milliseconds while waiting, else null. */
  onState: (state: ConnectionState, retryAt: number | null) => void;
  /** Called when the stream is up again after a loss: what happened meanwhile must be asked for. */
  onResume: () => void;
  random?: () => number;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
const OPEN = 1;

/** Milliseconds to wait before attempt number `attempt` (from 0), spread by a fifth so that pages do not knock at once. */
export function backOffMs(attempt: number, random: () => number): number {
  const base = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return Math.round(base * (0.8 + 0.4 * random()));
}

export class LiveConnection {
  private socket: SocketLike | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private attempt = 0;
  private wasUp = false;
  private stopped = true;
  private session: string | null = null;

  constructor(private readonly options: ConnectionOptions) {}

  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.connect();
  }

  stop(): void {
    this.stopped = true;
    this.clearTimer();
    this.socket?.close();
    this.socket = null;
    this.options.onState("stopped", null);
  }

  /** Chooses the session whose items are wanted; remembered across reconnections. */
  subscribe(session: string | null): void {
    if (this.session === session) return;
    this.session = session;
    this.sendSubscription();
  }

  /** Tries at once instead of waiting, as when the machine wakes up. */
  retryNow(): void {
    if (this.stopped || this.timer === null) return;
    this.clearTimer();
    this.connect();
  }

  private sendSubscription(): void {
    if (this.socket?.readyState === OPEN) this.socket.send(JSON.stringify({ subscribe: this.session }));
  }

  private connect(): void {
    this.options.onState("connecting", null);
    const socket = this.options.open();
    this.socket = socket;
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.attempt = 0;
      this.options.onState("live", null);
      if (this.session !== null) this.sendSubscription();
      if (this.wasUp) this.options.onResume();
      this.wasUp = true;
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket || typeof event.data !== "string") return;
      const message = parseMessage(event.data);
      if (message) this.options.onMessage(message);
    };
    socket.onclose = () => {
      if (this.socket !== socket || this.stopped) return;
      this.socket = null;
      this.wait();
    };
  }

  private wait(): void {
    const delay = backOffMs(this.attempt, this.options.random ?? Math.random);
    this.attempt += 1;
    this.options.onState("waiting", Date.now() + delay);
    this.timer = setTimeout(() => {
      this.timer = null;
      this.connect();
    }, delay);
  }

  private clearTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}

/** A message of the stream, or null for text that is none: one bad message must not end the stream. */
export function parseMessage(text: string): LiveMessage | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || !("type" in value)) return null;
    return { sessions: [], items: [], session_id: null, status: null, error: null, ...value } as LiveMessage;
  } catch {
    return null;
  }
}
