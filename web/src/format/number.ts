/** Numbers in words; none of these turns "not known" into zero: callers keep null apart. */

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function integer(value: number): string {
  return grouped.format(value);
}

/** A decimal string of US dollars; two decimals, four below ten cents. Rounds half up, in decimal digits. */
export function dollars(value: string): string {
  const amount = Number(value);
  if (!Number.isFinite(amount)) return value;
  const places = amount !== 0 && Math.abs(amount) < 0.1 ? 4 : 2;
  if (amount > 0 && amount < 0.0001) return "<$0.0001";
  return `$${amount.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places })}`;
}

/** A share as a percentage, rounded down: anything short of all never reads as 100 %. */
export function percent(share: number): string {
  if (share >= 1) return "100 %";
  const tenths = Math.floor(share * 1000 + 1e-9) / 10;
  return `${tenths.toFixed(1)} %`;
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let scaled = value;
  let unit = -1;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${integer(count)} ${count === 1 ? one : many}`;
}
