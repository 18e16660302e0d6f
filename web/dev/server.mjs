// A server for developing the page without the recorder: generated data, a live stream, and the built page.
// Usage: node dev/server.mjs [--port 7879] [--empty] [--importing] [--broken] [--rate <calls per second>]
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { callDetail, callItems, makeCall, makeTimeline, random, sessionRow } from "./generate.mjs";

const option = (name, fallback) => {
  const place = process.argv.indexOf(`--${name}`);
  return place < 0 ? fallback : (process.argv[place + 1] ?? "");
};
const has = (name) => process.argv.includes(`--${name}`);
const port = Number(option("port", "7879"));
const rate = Number(option("rate", "1"));
const root = fileURLToPath(new URL("../../src/watchkeeper/server/_static", import.meta.url));

const sessions = new Map();
if (!has("empty")) {
  const plan = [[10_000, 600, true], [420, 45, true], ...Array.from({ length: 260 }, (_, n) => [12 + ((n * 37) % 160), 20 + (n % 50), false])];
  plan.forEach(([count, minutes, live], number) => {
    const id = `${(0x7c0ffee0 + number * 7919).toString(16)}-4d1c-4b8e-9a52-${String(number).padStart(12, "0")}`;
    const start = Date.now() - (live ? minutes : 90 * number + minutes) * 60_000;
    const timeline = makeTimeline(id, count, start, minutes, number + 1, live);
    sessions.set(id, { timeline, row: sessionRow(id, number, timeline, live), live });
  });
}
const rows = () => [...sessions.values()].map((entry) => entry.row).sort((a, b) => (a.last_at < b.last_at ? 1 : -1));
const importing = { running: has("importing"), files_total: 1240, files_done: 388, bytes_total: 911_000_000, bytes_done: 240_000_000, skipped: 3, finished_at: null };
const status = () => ({
  version: "0.1.0", home: "/home/ada/.local/share/watchkeeper", sessions: sessions.size,
  tool_calls: rows().reduce((sum, row) => sum + row.tool_calls, 0), ledger_entries: 48_213, last_event_at: rows()[0]?.last_at ?? null,
  import_progress: importing, parts: { decider: "up", recorder: has("broken") ? "down" : "up", server: "up" }, hooks_installed: !has("empty"), demo_available: has("empty"),
});

function coverage(only) {
  const chosen = only ? [sessions.get(only)] : [...sessions.values()];
  const calls = chosen.flatMap((entry) => entry.timeline.items.filter((item) => item.call));
  const gaps = chosen.flatMap((entry) => entry.timeline.items.filter((item) => item.kind === "gap")).map((item) => ({
    kind: item.name, session_id: null, tool_use_id: item.key.slice(4), tool: item.data.tool, at: item.at, missing: item.data.missing, explanation: item.text,
  }));
  const owner = new Map(calls.map((item) => [item.call.tool_use_id, item.call.session_id]));
  for (const gap of gaps) gap.session_id = owner.get(gap.tool_use_id) ?? null;
  const classes = {};
  for (const gap of gaps) classes[gap.kind] = (classes[gap.kind] ?? 0) + 1;
  return {
    tool_calls: calls.length, by_witness: { hook: calls.length - gaps.length, transcript: calls.length, otel: null, proxy: null },
    complete: calls.length ? (calls.length - gaps.length) / calls.length : null, gaps: gaps.slice(0, 400), gap_classes: classes, findings: [],
    not_collected: [{ event: "WorktreeCreate", reason: "A hook on it would replace git's own work." }, { event: "MessageDisplay", reason: "It delays the screen; registered on request only." }],
    unknown_events: { "progress.hint": 12, FutureEvent: 3 },
  };
}

function answer(url, method) {
  const path = url.pathname;
  if (path === "/api/status") return status();
  if (path === "/api/verify") return { ok: true, entries: 48_213, integrity: "intact", completeness: "complete", first_bad: null, anchor: "none", checkpoints: 49, findings: [{ what: "the record is signed by itself only", why: "This user could sign a changed record anew.", place: "" }] };
  if (path === "/api/demo" && method === "POST") return { ok: true };
  if (path === "/api/coverage") return coverage(url.searchParams.get("session"));
  if (path === "/api/sessions") {
    const q = url.searchParams.get("q")?.toLowerCase();
    const project = url.searchParams.get("project");
    const found = rows().filter((row) => (!project || row.project === project) && (!q || `${row.title} ${row.cwd}`.toLowerCase().includes(q)));
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const limit = Number(url.searchParams.get("limit") ?? 10);
    return { sessions: found.slice(from, from + limit), total: found.length, next: from + limit < found.length ? String(from + limit) : null };
  }
  const call = /^\/api\/calls\/(.+)$/.exec(path);
  if (call) {
    for (const entry of sessions.values()) {
      const item = entry.timeline.items.find((candidate) => candidate.call?.tool_use_id === call[1]);
      if (item) return callDetail(item.call);
    }
    return null;
  }
  const session = /^\/api\/sessions\/([^/]+)(\/timeline)?$/.exec(path);
  const entry = session && sessions.get(session[1]);
  if (!entry) return null;
  if (!session[2]) return { session: entry.row, agents: entry.timeline.agents };
  const from = Number(url.searchParams.get("cursor") ?? 0);
  const limit = Number(url.searchParams.get("limit") ?? 1000);
  const { items } = entry.timeline;
  return { items: items.slice(from, from + limit), total: items.length, next: from + limit < items.length ? String(from + limit) : null };
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const POLICY = `default-src 'self'; connect-src 'self' ws://127.0.0.1:${port}; img-src 'self' data:; object-src 'none'; base-uri 'none'`;
const server = createServer((request, response) => {
  const url = new URL(request.url, `http://127.0.0.1:${port}`);
  if (url.pathname.startsWith("/api/")) {
    const body = answer(url, request.method);
    response.writeHead(body ? 200 : 404, { "content-type": "application/json" });
    response.end(JSON.stringify(body ?? { error: { code: "not_found", what: `There is no ${url.pathname}`, why: "Nothing of that name is on record.", hint: "wk sessions lists what there is.", place: url.pathname } }));
    return;
  }
  const wanted = join(root, normalize(url.pathname));
  const file = wanted.startsWith(root) && existsSync(wanted) && statSync(wanted).isFile() ? wanted : join(root, "index.html");
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": POLICY });
  createReadStream(file).pipe(response);
});

const sockets = new WebSocketServer({ server, path: "/api/live" });
const message = (more) => JSON.stringify({ type: "status", sessions: [], session_id: null, items: [], status: null, error: null, ...more });
sockets.on("connection", (socket) => {
  socket.send(message({ type: "hello", sessions: rows().slice(0, 100), status: status() }));
  socket.on("message", (text) => {
    socket.session = JSON.parse(text).subscribe;
    socket.send(message({ type: "items", session_id: socket.session }));
  });
});

const chance = random(99);
if (rate > 0) {
  setInterval(() => {
    for (const [id, entry] of sessions) {
      if (!entry.live) continue;
      const { timeline, row } = entry;
      const call = makeCall(id, (timeline.index += 1), Date.now(), chance, null, false);
      const added = callItems(call);
      timeline.items.push(...added);
      entry.row = { ...row, last_at: call.started_at, tool_calls: row.tool_calls + 1, failures: row.failures + (call.outcome === "failed" ? 1 : 0) };
      for (const socket of sockets.clients) {
        socket.send(message({ type: "sessions", sessions: [entry.row] }));
        if (socket.session === id) socket.send(message({ type: "items", session_id: id, items: added }));
      }
    }
  }, 1000 / rate);
}
server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port} with ${sessions.size} sessions`));
