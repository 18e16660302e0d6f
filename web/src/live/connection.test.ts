import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { backOffMs, LiveConnection, parseMessage, type SocketLike } from "./connection";

class Socket implements SocketLike {
  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  readyState = 0;
  sent: string[] = [];
  send(text: string) {
    this.sent.push(text);
  }
  close() {
    this.readyState = 3;
  }
  opens() {
    this.readyState = 1;
    this.onopen?.({} as Event);
  }
  breaks() {
    this.readyState = 3;
    this.onclose?.({} as CloseEvent);
  }
}

describe("the live connection", () => {
  let sockets: Socket[];
  const states: string[] = [];
  let resumed = 0;
  let connection: LiveConnection;

  beforeEach(() => {
    vi.useFakeTimers();
    sockets = [];
    states.length = 0;
    resumed = 0;
    connection = new LiveConnection({
      open: () => {
        const socket = new Socket();
        sockets.push(socket);
        return socket;
      },
      onMessage: () => undefined,
      onState: (state) => states.push(state),
      onResume: () => (resumed += 1),
      random: () => 0.5,
    });
  });
  afterEach(() => {
    connection.stop();
    vi.useRealTimers();
  });

  it("subscribes again after a loss and says that it is back", () => {
    connection.start();
    connection.subscribe("s1");
    sockets[0]?.opens();
    expect(sockets[0]?.sent).toEqual(['{"subscribe":"s1"}']);
    expect(resumed).toBe(0);
    sockets[0]?.breaks();
    vi.advanceTimersByTime(500);
    sockets[1]?.opens();
    expect(sockets[1]?.sent).toEqual(['{"subscribe":"s1"}']);
    expect(resumed).toBe(1);
    expect(states).toEqual(["connecting", "live", "waiting", "connecting", "live"]);
  });

  it("waits longer after each failure and forgets that once it is up", () => {
    connection.start();
    for (const [attempt, delay] of [500, 1000, 2000].entries()) {
      sockets[attempt]?.breaks();
      vi.advanceTimersByTime(delay - 1);
      expect(sockets.length).toBe(attempt + 1);
      vi.advanceTimersByTime(1);
      expect(sockets.length).toBe(attempt + 2);
    }
    sockets[3]?.opens();
    sockets[3]?.breaks();
    vi.advanceTimersByTime(500);
    expect(sockets.length).toBe(5);
  });

  it("does not come back once stopped", () => {
    connection.start();
    sockets[0]?.opens();
    connection.stop();
    sockets[0]?.breaks();
    vi.advanceTimersByTime(60_000);
    expect(sockets.length).toBe(1);
  });

  it("never waits beyond the longest delay", () => {
    expect(backOffMs(50, () => 1)).toBeLessThanOrEqual(18_000);
  });
});

it("drops what is no message and fills in what a message leaves out", () => {
  expect(parseMessage("{")).toBeNull();
  expect(parseMessage("[]")).toBeNull();
  expect(parseMessage('{"type":"status"}')?.items).toEqual([]);
});
