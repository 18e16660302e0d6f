/** One ordered palette of eight; the same tool has the same colour everywhere, always. */

const KNOWN: Record<string, number> = {
  Bash: 1,
  BashOutput: 1,
  KillShell: 1,
  PowerShell: 1,
  Read: 2,
  NotebookRead: 2,
  Edit: 3,
  MultiEdit: 3,
  NotebookEdit: 3,
  Write: 4,
  Agent: 5,
  Task: 5,
  Workflow: 5,
  Grep: 6,
  Glob: 6,
  LS: 6,
  ToolSearch: 6,
  WebFetch: 7,
  WebSearch: 7,
  TodoWrite: 8,
  TaskCreate: 8,
  TaskUpdate: 8,
  Skill: 8,
};

/** FNV-1a, so that a name never seen before keeps its colour from then on, on every machine. */
export function stableHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/** Palette place 1 to 8 of a tool; all tools of one MCP server share a place. */
export function toolCategory(tool: string | null, server: string | null = null): number {
  if (tool === null) return 8;
  const known = KNOWN[tool];
  if (known !== undefined) return known;
  const family = server ?? (tool.startsWith("mcp__") ? (tool.split("__")[1] ?? tool) : tool);
  return 1 + (stableHash(family) % 7);
}

/** A tool's name as read: an MCP tool as its server and its own name. */
export function toolLabel(tool: string | null): string {
  if (tool === null) return "unknown tool";
  const [prefix, server, ...name] = tool.split("__");
  return prefix === "mcp" && server && name.length > 0 ? `${server}·${name.join("__")}` : tool;
}

export function categoryColour(place: number): string {
  return `var(--category-${place})`;
}

export function toolColour(tool: string | null, server: string | null = null): string {
  return categoryColour(toolCategory(tool, server));
}

/** Palette place of an agent's lane, by its position among the session's agents. */
export function laneColour(position: number): string {
  return categoryColour(1 + ((position + 4) % 8));
}
