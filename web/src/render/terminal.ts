/** Terminal output made harmless: colours become classes, everything else that steers a terminal is dropped or shown. */

export interface Run {
  text: string;
  /** Class names: `fg-0` to `fg-15`, `bg-0` to `bg-15`, `bold`, `dim`, `italic`, `underline`, `inverse`, `strike`. */
  classes: string[];
}

interface Style {
  fg: number | null;
  bg: number | null;
  flags: Set<string>;
}

// OSC and other strings to their end, CSI sequences, single escapes. An unfinished one is dropped to the line's end.
const ESCAPE =
  /\u001b\][^\u0007\u001b\n]*(?:\u0007|\u001b\\)?|\u001b[PX^_][^\u001b\n]*(?:\u001b\\)?|\u001b\[([0-9;:?<=>!]*)[ -/]*([@-~])?|\u001b[ -/]*[0-~]?/g;
const FLAG: Record<number, string> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };

/** Characters that could hide or reorder text (controls, direction overrides), as visible ones. */
export function visible(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, (found) => String.fromCharCode(0x2400 + found.charCodeAt(0)))
    .replace(/\u007f/g, "\u2421")
    .replace(/[\u0080-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (found) => {
      return `⟨U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
    });
}

/** A line as a terminal would leave it: what follows a carriage return stands for what was before it. */
function overwritten(line: string): string {
  const bare = line.endsWith("\r") ? line.slice(0, -1) : line;
  const place = bare.lastIndexOf("\r");
  return place < 0 ? bare : bare.slice(place + 1);
}

/** Nearest of the sixteen named colours to a 256-colour index. */
function nearest256(index: number): number {
  if (index < 16) return index;
  if (index >= 232) return index < 238 ? 8 : index < 248 ? 7 : 15;
  const cube = index - 16;
  return nearestRgb(Math.floor(cube / 36) * 51, (Math.floor(cube / 6) % 6) * 51, (cube % 6) * 51);
}

function nearestRgb(red: number, green: number, blue: number): number {
  const peak = Math.max(red, green, blue);
  if (peak < 48) return 8;
  const threshold = peak * 0.6;
  const base = (red > threshold ? 1 : 0) + (green > threshold ? 2 : 0) + (blue > threshold ? 4 : 0);
  return peak > 200 && base !== 7 ? base + 8 : base;
}

function extended(codes: number[], at: number): [number | null, number] {
  if (codes[at + 1] === 5) return [nearest256(codes[at + 2] ?? 0), at + 2];
  if (codes[at + 1] === 2) return [nearestRgb(codes[at + 2] ?? 0, codes[at + 3] ?? 0, codes[at + 4] ?? 0), at + 4];
  return [null, at + 1];
}

function apply(style: Style, parameters: string): void {
  const codes = parameters.split(/[;:]/).map((part) => (part === "" ? 0 : Number(part)));
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 0) {
      style.fg = style.bg = null;
      style.flags.clear();
    } else if (FLAG[code]) style.flags.add(FLAG[code]);
    else if (code === 22) {
      style.flags.delete("bold");
      style.flags.delete("dim");
    } else if (FLAG[code - 20]) style.flags.delete(FLAG[code - 20] ?? "");
    else if (code === 38) [style.fg, at] = extended(codes, at);
    else if (code === 48) [style.bg, at] = extended(codes, at);
    else if (code === 39) style.fg = null;
    else if (code === 49) style.bg = null;
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
  }
}

function classes(style: Style): string[] {
  const names = [...style.flags];
  if (style.fg !== null) names.push(`fg-${style.fg}`);
  if (style.bg !== null) names.push(`bg-${style.bg}`);
  return names;
}

/** Lines of styled runs; the text of a run is plain and only ever set as text. */
export function terminalLines(output: string): Run[][] {
  const style: Style = { fg: null, bg: null, flags: new Set() };
  return output.split("\n").map((raw) => {
    const line = overwritten(raw);
    const runs: Run[] = [];
    let from = 0;
    const push = (text: string) => {
      if (text !== "") runs.push({ text: visible(text), classes: classes(style) });
    };
    for (const found of line.matchAll(ESCAPE)) {
      push(line.slice(from, found.index));
      from = found.index + found[0].length;
      if (found[2] === "m") apply(style, found[1] ?? "");
    }
    push(line.slice(from));
    return runs;
  });
}
