/** A unified diff as lines with their numbers. */

export interface DiffLine {
  kind: "add" | "remove" | "context" | "hunk" | "file" | "note";
  text: string;
  oldNumber: number | null;
  newNumber: number | null;
}

const HUNK = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/;

/** Inside a hunk the counts decide, so that a removed line that begins with `--` is not taken for a file header. */
export function parseDiff(diff: string): DiffLine[] {
  const lines: DiffLine[] = [];
  let oldNumber = 0;
  let newNumber = 0;
  let oldLeft = 0;
  let newLeft = 0;
  const body = diff.endsWith("\n") ? diff.slice(0, -1) : diff;
  for (const raw of body.split("\n")) {
    const sign = raw[0];
    const rest = raw.slice(1);
    const hunk = oldLeft <= 0 && newLeft <= 0 ? HUNK.exec(raw) : null;
    if (hunk) {
      oldNumber = Number(hunk[1]);
      newNumber = Number(hunk[3]);
      oldLeft = hunk[2] === undefined ? 1 : Number(hunk[2]);
      newLeft = hunk[4] === undefined ? 1 : Number(hunk[4]);
      lines.push({ kind: "hunk", text: raw, oldNumber: null, newNumber: null });
    } else if (sign === "\\") {
      lines.push({ kind: "note", text: raw.slice(2), oldNumber: null, newNumber: null });
    } else if (oldLeft <= 0 && newLeft <= 0) {
      lines.push({ kind: "file", text: raw, oldNumber: null, newNumber: null });
    } else if (sign === "+") {
      lines.push({ kind: "add", text: rest, oldNumber: null, newNumber });
      newNumber += 1;
      newLeft -= 1;
    } else if (sign === "-") {
      lines.push({ kind: "remove", text: rest, oldNumber, newNumber: null });
      oldNumber += 1;
      oldLeft -= 1;
    } else {
      lines.push({ kind: "context", text: rest, oldNumber, newNumber });
      oldNumber += 1;
      newNumber += 1;
      oldLeft -= 1;
      newLeft -= 1;
    }
  }
  return lines;
}
