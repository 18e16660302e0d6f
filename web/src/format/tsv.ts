/** Rows as tab-separated text for a spreadsheet. */

/** Cells lose tabs and line breaks, and what a spreadsheet would run as a formula is made text. */
export function tsv(rows: (string | number | null)[][]): string {
  return rows.map((row) => row.map(cell).join("\t")).join("\n");
}

function cell(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const flat = value.replace(/[\t\r\n]+/g, " ");
  return /^[=+\-@]/.test(flat) ? `'${flat}` : flat;
}
