// Data for developing the page: sessions of every kind, one of them with 10,000 items, one that keeps going.
// The same seed gives the same data; times hang on the moment of the start.

function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}


const iso = (ms) => new Date(ms).toISOString();
const TOOLS = [
  ["Bash", ["npm test -- --run cart", "git status --short", "rg -n 'parseAmount' src", "pytest -q tests/unit"]],
  ["Read", ["src/cart/total.ts", "src/cart/discounts.ts", "README.md", "package.json"]],
  ["Edit", ["src/cart/total.ts", "src/cart/discounts.ts"]],
  ["Write", ["src/cart/round.ts", "tests/round.test.ts"]],
  ["Grep", ["parseAmount", "TODO\\(price\\)"]],
  ["Glob", ["src/**/*.ts"]],
  ["WebFetch", ["https://example.org/rounding"]],
  ["TodoWrite", ["4 entries"]],
  ["mcp__tracker__get_issue", ["CART-118"]],
];
const PROMPTS = [
  "Make the cart total round half up, and prove it with tests for amounts that a float cannot hold.",
  "Why does the discount apply twice when a voucher is removed and added again?\n\nReproduce it first, then mend it at its root. Do not touch the public API.",
  "/sc:implement a rounding helper --think --persona-backend",
];
const SAYS = [
  "I'll look at how the total is computed before changing anything.",
  "The rounding happens in two places. The second one works on a value that was already rounded, which explains the cent that goes missing for amounts such as 1.005; I'll move it to one helper and call that from both.",
  "All tests pass now.",
];
const GAPS = {
  hook_missing: "The hooks were active, but none of them saw this call.",
  schema_rejected: "The client refused the call's input before any hook could see it.",
  user_denied: "The user said no; no hook follows a denied call.",
};

export function makeCall(session, index, at, next, agent, last) {
  const pick = next();
  const [tool, subjects] = TOOLS[Math.floor(pick * pick * TOOLS.length)];
  const chance = next();
  const outcome = last ? "running" : chance > 0.97 ? "denied" : chance > 0.9 ? "failed" : chance > 0.895 ? "interrupted" : chance > 0.89 ? "rejected" : "ok";
  const duration = last ? null : Math.round(20 + 4000 * next() ** 4 + (tool === "Bash" ? 9000 * next() ** 3 : 0));
  const edit = tool === "Edit" || tool === "Write";
  const gap = outcome === "rejected" ? "schema_rejected" : outcome === "denied" ? "user_denied" : next() > 0.985 ? "hook_missing" : null;
  const id = `toolu_${session}_${index}`;
  return {
    tool_use_id: id,
    session_id: session,
    prompt_id: `p-${session}`,
    agent_id: agent,
    tool,
    mcp_server: tool.startsWith("mcp__") ? "tracker" : null,
    subject: subjects[Math.floor(next() * subjects.length)],
    started_at: iso(at),
    ended_at: duration === null ? null : iso(at + duration),
    duration_ms: duration,
    duration_basis: duration === null ? null : next() > 0.3 ? "reported" : "computed",
    outcome,
    outcome_by: outcome === "denied" ? "user" : null,
    permission: outcome === "denied" ? "deny" : next() > 0.5 ? "allow" : null,
    permission_source: outcome === "denied" ? "user" : null,
    permission_mode: "default",
    witnesses: gap ? ["transcript.use", "transcript.result"] : ["hook.pre", "hook.post", "transcript.use", "transcript.result"],
    gap,
    lines_added: edit ? Math.floor(next() * 40) : null,
    lines_removed: edit ? Math.floor(next() * 12) : null,
    error: outcome === "failed" ? "Exit code 1" : null,
    exit_code: outcome === "failed" && tool === "Bash" ? 1 : null,
    background: false,
    message_id: `msg_${index}`,
    previous_tool: "Read",
    next_tool: "Bash",
    parallel: next() > 0.8,
  };
}

const item = (kind, key, at, name, more = {}) => ({
  key: `${kind}:${key}`, at: iso(at), order: at, kind, agent_id: null, name, text: null, call: null, data: {}, ...more,
});

export function callItems(call) {
  const at = Date.parse(call.started_at);
  const items = [item("call", call.tool_use_id, at, call.tool, { agent_id: call.agent_id, text: call.subject, call })];
  if (call.gap) {
    items.push(item("gap", call.tool_use_id, at, call.gap, { agent_id: call.agent_id, text: GAPS[call.gap], data: { missing: ["hook"], tool: call.tool } }));
  }
  return items;
}

export function makeTimeline(session, count, start, minutes, seed, live) {
  const next = random(seed);
  const items = [item("event", `${session}-start`, start, "SessionStart", { text: "startup", data: { source: "startup", witnesses: ["hook"], known: true } })];
  const agents = [];
  let at = start;
  let agent = null;
  let left = 0;
  for (let index = 0; items.length < count; index += 1) {
    at += (minutes * 60_000 * (0.2 + 1.6 * next())) / count;
    if (index === Math.floor(count / 3)) at += minutes * 6000;
    const moment = Math.floor(at);
    if (index % 60 === 0) items.push(item("prompt", `${session}-${index}`, moment, "user", { text: PROMPTS[(index / 60) % PROMPTS.length], data: { witnesses: ["hook", "transcript"] } }));
    if (index % 9 === 2) items.push(item("message", `${session}-${index}`, moment, "text", { agent_id: agent, text: SAYS[index % SAYS.length], data: { role: "assistant" } }));
    if (index % 45 === 20) {
      const parent = `toolu_${session}_${index}`;
      const id = `agent-${agents.length + 1}`;
      const nested = agent;
      items.push(...callItems({ ...makeCall(session, index, moment, next, nested, false), tool_use_id: parent, tool: "Agent", subject: "Find every caller of parseAmount", outcome: "ok", gap: null }));
      agents.push({ agent_id: id, agent_type: agents.length % 2 ? "Explore" : "general-purpose", parent_tool_use_id: parent, parent_agent_id: nested, description: "Find every caller of parseAmount", started_at: iso(moment), ended_at: null, tool_calls: 12 });
      items.push(item("subagent", id, moment, agents.at(-1).agent_type, { agent_id: id, text: "Find every caller of parseAmount", data: { ...agents.at(-1) } }));
      agent = id;
      left = 12;
      continue;
    }
    if (left > 0 && (left -= 1) === 0) agent = null;
    items.push(...callItems(makeCall(session, index, moment, next, agent, live && items.length >= count - 1)));
    if (index % 400 === 399) items.push(item("event", `${session}-c${index}`, moment, "PreCompact", { text: "auto", data: { trigger: "auto", witnesses: ["hook"], known: true } }));
    if (index % 500 === 130) items.push(item("finding", `${session}-${index}`, moment, "witnesses_disagree", { text: "Hook and transcript tell different outcomes of one call.", data: { severity: "medium", tool_use_id: `toolu_${session}_${index}` } }));
  }
  return { items: items.slice(0, count), agents, next, at, index: count };
}

export function sessionRow(id, number, timeline, live) {
  const calls = timeline.items.filter((entry) => entry.call).map((entry) => entry.call);
  const gaps = calls.filter((call) => call.gap).length;
  const projects = ["storefront", "watchtower", "notes-api", "infra"];
  const titles = ["Round the cart total half up", "Discount applies twice after removing a voucher", "Move the importer to streaming reads and measure what it saves on the large archive of last year", "Upgrade the linter", null];
  return {
    session_id: id, project: projects[number % 4], cwd: `/home/ada/src/${projects[number % 4]}`, title: titles[number % 5],
    started_at: timeline.items[0].at, last_at: timeline.items.at(-1).at, ended_at: live || number % 4 === 3 ? null : timeline.items.at(-1).at, live,
    prompts: timeline.items.filter((entry) => entry.kind === "prompt").length, tool_calls: calls.length,
    failures: calls.filter((call) => call.outcome === "failed").length, subagents: timeline.agents.length,
    cost_usd: number % 3 === 1 ? null : (0.0123 + calls.length * 0.0091).toFixed(6), cost_basis: number % 3 === 1 ? null : "reported",
    models: number % 5 === 2 ? ["claude-opus-4-5-20251101", "claude-haiku-4-5-20251001"] : ["claude-sonnet-4-5-20250929"],
    git_branch: number % 2 ? "main" : "fix/rounding", user: number % 4 === 2 ? null : "ada", host: number % 4 === 2 ? null : "studio",
    run_id: null, version: "2.1.286", permission_modes: ["default"], witnesses: number % 4 === 2 ? ["transcript"] : ["hook", "transcript"],
    coverage: { tool_calls: calls.length, by_witness: { hook: calls.length - gaps, transcript: calls.length, otel: null, proxy: null }, complete: calls.length ? (calls.length - gaps) / calls.length : null, gaps },
    resume: `cd /home/ada/src/${projects[number % 4]} && claude --resume ${id}`,
  };
}

const DIFF = `--- a/src/cart/total.ts
+++ b/src/cart/total.ts
@@ -12,9 +12,8 @@ export function total(lines: Line[]): Amount {
   const net = lines.reduce((sum, line) => sum + line.amount, 0);
-  // round once here
-  const rounded = Math.round(net * 100) / 100;
-  return Math.round(rounded * (1 + rate) * 100) / 100;
+  // Rounded once, at the end: twice loses a cent.
+  return roundHalfUp(net * (1 + rate));
 }
 
 export function empty(): Amount {
@@ -40,2 +39,3 @@
 }
+export { roundHalfUp };
 // end
`;

export function callDetail(call) {
  const bash = call.tool === "Bash";
  const lines = Array.from({ length: 14 }, (_, index) => `\u001b[32m✓\u001b[39m tests/round.test.ts \u001b[2m(${index + 3} tests)\u001b[22m ${index * 3}ms`);
  return {
    call,
    context: { prompt: PROMPTS[0], slash_command: null, framework_command: "/sc:implement", persona: "backend", flags: ["--think"], reasoning: SAYS[1], thinking: null },
    input: bash ? { command: call.subject, description: "Run the tests" }
      : call.tool === "TodoWrite" ? { todos: [{ content: "Reproduce the cent that goes missing", status: "completed" }, { content: "Round in one place", status: "in_progress" }, { content: "Prove it with tests", status: "pending" }] }
      : { file_path: call.subject, nested: { list: [1, 2, { deep: true }], note: "<b>not markup</b>" } },
    response: call.tool === "Read" ? { type: "text", file: { filePath: call.subject, content: 'import { round } from "./round";\n\nexport function total() {\n  return round(1.005);\n}\n', startLine: 8, numLines: 5 } } : bash ? { stdout: "…" } : { ok: true },
    result: call.tool === "Read" || bash ? "" : "Found 3 files\nsrc/cart/total.ts\nsrc/cart/round.ts\nsrc/cart/discounts.ts",
    diff: call.tool === "Edit" || call.tool === "Write" ? DIFF : null,
    stdout: bash ? `${lines.join("\n")}\n\u001b[1;31m✗ 1 failed\u001b[0m <script>alert(1)</script> \u001b]0;title\u0007 \u202eevil\n` : null,
    stderr: bash && call.outcome === "failed" ? "npm error code 1" : bash ? "" : null,
    evidence: call.witnesses.map((witness, index) => ({ witness, source: `spool:9f2c51d0a7e34b1fb1a64c1b2f0c77de:${4096 + index * 731}`, at: call.started_at, ledger_seq: 18_200 + index })),
    masked: bash ? { aws_access_key: 1 } : {},
  };
}
export { random };
