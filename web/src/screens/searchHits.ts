import type { SearchHit } from "../api/types";

/** Where a hit stands, in words. */
export const hitKinds: Record<string, string> = {
  prompt: "prompt",
  answer: "answer",
  thinking: "thinking",
  tool_input: "tool input",
  tool_result: "tool result",
};

/** The excerpt of a hit, cut into what matched and what did not. */
export function hitParts(hit: SearchHit): { text: string; marked: boolean }[] {
  // The server counts characters, a browser's strings count halves of the rare ones.
  const characters = [...hit.excerpt];
  const parts = [];
  let place = 0;
  for (const [start, end] of hit.matches as [number, number][]) {
    parts.push({ text: characters.slice(place, start).join(""), marked: false });
    parts.push({ text: characters.slice(start, end).join(""), marked: true });
    place = end;
  }
  parts.push({ text: characters.slice(place).join(""), marked: false });
  return parts.filter((part) => part.text !== "");
}
