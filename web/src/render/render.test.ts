import { describe, expect, it } from "vitest";
import { parseDiff } from "./diff";
import { unnumbered } from "./payload";
import { terminalLines, visible } from "./terminal";

const plain = (output: string) => terminalLines(output).map((runs) => runs.map((run) => run.text).join(""));

describe("terminal output", () => {
  it("keeps colours as classes, across lines until they are reset", () => {
    expect(terminalLines("a\u001b[1;31mb\nc\u001b[0md")).toEqual([
      [{ text: "a", classes: [] }, { text: "b", classes: ["bold", "fg-1"] }],
      [{ text: "c", classes: ["bold", "fg-1"] }, { text: "d", classes: [] }],
    ]);
  });

  it("reads bright, 256-colour and true-colour codes as one of sixteen", () => {
    const classes = (code: string) => terminalLines(`\u001b[${code}mx`)[0]?.[0]?.classes;
    expect(classes("91")).toEqual(["fg-9"]);
    expect(classes("38;5;2")).toEqual(["fg-2"]);
    expect(classes("38;2;255;0;0")).toEqual(["fg-9"]);
    expect(classes("48;5;196;4")).toEqual(["underline", "bg-9"]);
  });

  it("drops titles, links, cursor moves and unfinished sequences", () => {
    expect(plain("\u001b]0;evil\u0007a\u001b]8;;http://x\u001b\\b\u001b[2Jc\u001b[10;2Hd\u001b[")).toEqual(["abcd"]);
  });

  it("shows what a carriage return would have left on the screen", () => {
    expect(plain("10 %\r50 %\r100 %\r\nnext")).toEqual(["100 %", "next"]);
  });

  it("shows controls and direction overrides instead of obeying them", () => {
    expect(visible("a\u0000\u0008\u202eb\u009b")).toBe("a\u2400\u2408⟨U+202E⟩b⟨U+009B⟩");
  });
});

describe("a unified diff", () => {
  it("numbers both sides and takes a removed line of dashes for what it is", () => {
    const lines = parseDiff("--- a/x\n+++ b/x\n@@ -3,2 +3,2 @@ f\n keep\n--- gone\n+++ come\n\\ No newline at end of file\n");
    expect(lines.map((line) => [line.kind, line.oldNumber, line.newNumber])).toEqual([
      ["file", null, null],
      ["file", null, null],
      ["hunk", null, null],
      ["context", 3, 3],
      ["remove", 4, null],
      ["add", null, 4],
      ["note", null, null],
    ]);
    expect(lines[4]?.text).toBe("-- gone");
  });

  it("reads several hunks", () => {
    const lines = parseDiff("@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n-c\n+d");
    expect(lines.filter((line) => line.kind === "hunk")).toHaveLength(2);
    expect(lines[4]?.oldNumber).toBe(9);
  });
});

it("takes line numbers off read content only when every line has one", () => {
  expect(unnumbered("    12→a\n    13→b")).toEqual({ content: "a\nb", firstLine: 12 });
  expect(unnumbered("12→a\nplain")).toEqual({ content: "12→a\nplain", firstLine: 1 });
});
