/** Keyboard bindings: screens add theirs while shown; the help lists what is bound now. */
import { onScopeDispose, shallowReactive } from "vue";

export interface Binding {
  /** A key (`j`, `/`, `Enter`, `Space`) or two in sequence (`g s`). */
  keys: string;
  does: string;
  run: () => void;
}

const SEQUENCE_MS = 900;
export const bindings = shallowReactive<Binding[]>([]);
let prefix: { key: string; at: number } | null = null;

export function keyName(event: Pick<KeyboardEvent, "key">): string {
  return event.key === " " ? "Space" : event.key;
}

/** Finds what a key does, given the key before it; `pending` says that it may begin a sequence. */
export function resolve(
  list: readonly Binding[],
  before: string | null,
  key: string,
): { binding: Binding | null; pending: boolean } {
  const last = (keys: string) => list.findLast((candidate) => candidate.keys === keys) ?? null;
  const sequence = before === null ? null : last(`${before} ${key}`);
  if (sequence) return { binding: sequence, pending: false };
  const single = last(key);
  if (single) return { binding: single, pending: false };
  return { binding: null, pending: list.some((candidate) => candidate.keys.startsWith(`${key} `)) };
}

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}

function handle(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (typing(event.target)) {
    if (event.key === "Escape") (event.target as HTMLElement).blur();
    return;
  }
  const key = keyName(event);
  // A focused button or link keeps its own Enter and Space.
  const pressable = event.target instanceof HTMLElement && event.target.closest("button, a, summary") !== null;
  if (pressable && (key === "Enter" || key === "Space")) return;
  const before = prefix && event.timeStamp - prefix.at < SEQUENCE_MS ? prefix.key : null;
  const found = resolve(bindings, before, key);
  prefix = found.pending ? { key, at: event.timeStamp } : null;
  if (!found.binding) return;
  event.preventDefault();
  found.binding.run();
}

export function listenForKeys(): void {
  addEventListener("keydown", handle);
}

/** Binds for the life of the calling component. */
export function useKeys(added: Binding[]): void {
  bindings.push(...added);
  onScopeDispose(() => {
    for (const binding of added) {
      const place = bindings.indexOf(binding);
      if (place >= 0) bindings.splice(place, 1);
    }
  });
}
