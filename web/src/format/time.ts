/** Times and spans in words. Times are shown in the reader's zone; the exact one is always within reach on hover. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const two = (value: number): string => String(value).padStart(2, "0");
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Epoch milliseconds of an RFC 3339 time, or null when it is absent or none. */
export function epoch(at: string | null | undefined): number | null {
  if (!at) return null;
  const value = Date.parse(at);
  return Number.isNaN(value) ? null : value;
}

/** `14:05:09` */
export function clock(at: number, withSeconds = true): string {
  const date = new Date(at);
  const base = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withSeconds ? `${base}:${two(date.getSeconds())}` : base;
}

/** `Nov 3`, with the year when it is not this one. */
export function day(at: number, now = Date.now()): string {
  const date = new Date(at);
  const base = `${months[date.getMonth()]} ${date.getDate()}`;
  return date.getFullYear() === new Date(now).getFullYear() ? base : `${base}, ${date.getFullYear()}`;
}

/** `2026-11-03 14:05:09.123 +01:00`: exact, for hover. */
export function absolute(at: number): string {
  const date = new Date(at);
  const offset = -date.getTimezoneOffset();
  const sign = offset < 0 ? "-" : "+";
  const zone = `${sign}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(at)}.${milliseconds} ${zone}`;
}

/** How long ago, in one unit; older than a week, the date. */
export function relative(at: number, now: number): string {
  const ago = now - at;
  if (ago < -2 * SECOND) return absolute(at).slice(0, 16);
  if (ago < 5 * SECOND) return "now";
  if (ago < MINUTE) return `${Math.floor(ago / SECOND)} s ago`;
  if (ago < HOUR) return `${Math.floor(ago / MINUTE)} min ago`;
  if (ago < DAY) return `${Math.floor(ago / HOUR)} h ago`;
  if (ago < 7 * DAY) return `${Math.floor(ago / DAY)} d ago`;
  return day(at, now);
}

/** A span: `850 ms`, `1.24 s`, `2 min 03 s`, `1 h 04 min`, `2 d 03 h`. */
export function span(milliseconds: number): string {
  if (milliseconds < SECOND) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 10 * SECOND) return `${(Math.floor(milliseconds / 10) / 100).toFixed(2)} s`;
  if (milliseconds < MINUTE) return `${(Math.floor(milliseconds / 100) / 10).toFixed(1)} s`;
  if (milliseconds < HOUR) {
    return `${Math.floor(milliseconds / MINUTE)} min ${two(Math.floor((milliseconds % MINUTE) / SECOND))} s`;
  }
  if (milliseconds < DAY) {
    return `${Math.floor(milliseconds / HOUR)} h ${two(Math.floor((milliseconds % HOUR) / MINUTE))} min`;
  }
  return `${Math.floor(milliseconds / DAY)} d ${two(Math.floor((milliseconds % DAY) / HOUR))} h`;
}
