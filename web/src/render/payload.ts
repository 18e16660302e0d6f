/** Careful looks into payloads, whose shape is the agent's and may be anything. */
import type { CallDetail } from "../api/types";

export type Json = unknown;

export function record(value: Json): Record<string, Json> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, Json>) : null;
}

export function string(value: Json): string | null {
  return typeof value === "string" ? value : null;
}

export interface TodoEntry {
  text: string;
  state: string;
}

/** The entries of a todo list, or null when this is none. */
export function todoEntries(input: Json): TodoEntry[] | null {
  const todos = record(input)?.["todos"];
  if (!Array.isArray(todos)) return null;
  return todos.flatMap((entry) => {
    const fields = record(entry);
    const text = string(fields?.["content"]) ?? string(fields?.["subject"]);
    return text === null ? [] : [{ text, state: string(fields?.["status"]) ?? "pending" }];
  });
}

export interface FileText {
  path: string | null;
  content: string;
  /** Number of the first line shown. */
  firstLine: number;
}

/** File content that was read, from the response object, else from what the model saw. */
export function readContent(detail: CallDetail): FileText | null {
  const file = record(record(detail.response)?.["file"]);
  const content = string(file?.["content"]);
  const path = string(file?.["filePath"]) ?? string(record(detail.input)?.["file_path"]);
  if (content !== null) {
    const start = file?.["startLine"];
    return { path, content, firstLine: typeof start === "number" ? start : 1 };
  }
  return detail.result === null ? null : { path, ...unnumbered(detail.result) };
}

/** Takes off the line numbers that the agent puts before each line it read (`    12→text`), if every line has one. */
export function unnumbered(text: string): { content: string; firstLine: number } {
  const lines = text.split("\n");
  const numbered = lines.map((line) => /^\s*(\d+)[→\t](.*)$/.exec(line));
  const first = numbered[0];
  if (!first || !numbered.every((match, index) => match !== null || lines[index] === "")) {
    return { content: text, firstLine: 1 };
  }
  return { content: numbered.map((match) => match?.[2] ?? "").join("\n"), firstLine: Number(first[1]) };
}

/** Which view suits a call. */
export function viewOf(detail: CallDetail): "diff" | "terminal" | "todo" | "file" | "other" {
  const tool = detail.call.tool ?? "";
  if (detail.diff !== null && detail.diff !== "") return "diff";
  if (tool === "Bash" || tool === "PowerShell" || detail.stdout !== null || detail.stderr !== null) return "terminal";
  if (todoEntries(detail.input) !== null) return "todo";
  if (tool === "Read" || tool === "NotebookRead") return "file";
  return "other";
}
