/** Shows only the rows near the viewport, keeps what is being read in place, and follows the tail when at the end. */
import { nextTick, onBeforeUnmount, onMounted, ref, shallowRef, watch, type Directive, type Ref } from "vue";
import { RowOffsets } from "./offsets";

export interface WindowingOptions {
  keys: () => readonly string[];
  /** Estimated height in pixels of the row at an index. */
  estimate: (index: number) => number;
  overscan?: number;
  /** Pixels of a sticky head inside the scrolling container. */
  lead?: number;
  /** Begin at the end and stay there as rows arrive. */
  follow?: boolean;
}

const AT_END_PX = 24;

export function useWindowing(container: Ref<HTMLElement | null>, options: WindowingOptions) {
  const offsets = new RowOffsets(options.estimate);
  const lead = options.lead ?? 0;
  const overscan = options.overscan ?? 8;
  const range = shallowRef({ start: 0, end: 0, top: 0 });
  const visible = shallowRef({ first: 0, last: 0 });
  const total = ref(0);
  const following = ref(options.follow ?? false);
  const atTop = ref(true);
  let width = 0;

  function refresh(): void {
    const element = container.value;
    total.value = offsets.total;
    if (!element || offsets.count === 0) {
      range.value = { start: 0, end: 0, top: 0 };
      visible.value = { first: 0, last: 0 };
      return;
    }
    const first = offsets.indexAt(element.scrollTop);
    const last = offsets.indexAt(element.scrollTop + element.clientHeight);
    const start = Math.max(0, first - overscan);
    const end = Math.min(offsets.count, last + 1 + overscan);
    const now = range.value;
    const top = offsets.startOf(start);
    if (now.start !== start || now.end !== end || now.top !== top) range.value = { start, end, top };
    visible.value = { first, last };
  }

  function moveTo(pixel: number): void {
    const element = container.value;
    if (!element) return;
    if (Math.abs(element.scrollTop - pixel) >= 1) element.scrollTop = pixel;
    refresh();
  }

  function toEnd(): void {
    total.value = offsets.total;
    void nextTick(() => {
      const element = container.value;
      if (element) moveTo(Math.max(0, offsets.total + lead - element.clientHeight));
    });
  }

  function onScroll(): void {
    const element = container.value;
    if (!element) return;
    following.value = element.scrollTop + element.clientHeight >= offsets.total + lead - AT_END_PX;
    atTop.value = element.scrollTop <= 1;
    refresh();
  }

  /** Row and distance that must not move while rows change above it. */
  function anchor(): { keys: string[]; distance: number } {
    const element = container.value;
    const first = element ? offsets.indexAt(element.scrollTop) : 0;
    const keys: string[] = [];
    for (let index = first; index < Math.min(first + 50, offsets.count); index += 1) keys.push(offsets.keyAt(index) ?? "");
    return { keys, distance: (element?.scrollTop ?? 0) - offsets.startOf(first) };
  }

  function replaceKeys(keys: readonly string[]): void {
    const element = container.value;
    const held = anchor();
    const untouched = (element?.scrollTop ?? 0) <= 1;
    offsets.setKeys(keys);
    total.value = offsets.total;
    refresh();
    if (following.value && options.follow) return toEnd();
    if (untouched || held.keys.length === 0) return;
    const kept = held.keys.find((key) => offsets.indexOf(key) >= 0);
    if (kept === undefined) return;
    const exact = kept === held.keys[0];
    void nextTick(() => moveTo(offsets.startOf(offsets.indexOf(kept)) + (exact ? held.distance : 0)));
  }

  const resized = new ResizeObserver((entries) => {
    const element = container.value;
    if (!element) return;
    let shift = 0;
    for (const entry of entries) {
      const target = entry.target as HTMLElement;
      const key = target.dataset["key"];
      if (key === undefined || !target.isConnected) continue;
      const height = entry.borderBoxSize[0]?.blockSize ?? target.offsetHeight;
      const index = offsets.indexOf(key);
      const above = index >= 0 && offsets.startOf(index) + offsets.heightAt(index) <= element.scrollTop + shift;
      const change = offsets.setHeight(key, height);
      if (above) shift += change;
    }
    total.value = offsets.total;
    if (following.value && options.follow) return toEnd();
    if (shift !== 0) void nextTick(() => moveTo(element.scrollTop + shift));
    refresh();
  });

  const boxResized = new ResizeObserver(() => {
    const element = container.value;
    if (!element) return;
    if (width !== 0 && Math.abs(element.clientWidth - width) > 1) {
      const held = anchor();
      offsets.forget();
      const key = held.keys[0];
      if (key !== undefined && !following.value) void nextTick(() => moveTo(offsets.startOf(offsets.indexOf(key))));
    }
    width = element.clientWidth;
    if (following.value && options.follow) toEnd();
    else refresh();
  });

  /** Put on each row element, which carries its key in `data-key`. */
  const vMeasure: Directive<HTMLElement> = {
    mounted: (element) => resized.observe(element),
    unmounted: (element) => resized.unobserve(element),
  };

  watch(options.keys, replaceKeys, { immediate: true });
  watch(container, (element, before) => {
    if (before) boxResized.unobserve(before);
    if (element) boxResized.observe(element);
  });
  onMounted(() => {
    if (container.value) boxResized.observe(container.value);
    refresh();
  });
  onBeforeUnmount(() => {
    resized.disconnect();
    boxResized.disconnect();
  });

  return {
    range,
    visible,
    total,
    following,
    atTop,
    onScroll,
    vMeasure,
    /** Shows the row at an index; moves only as far as needed, unless it is to be at the top. */
    show(index: number, align: "near" | "top" = "near"): void {
      const element = container.value;
      if (!element || index < 0) return;
      const start = offsets.startOf(index);
      const height = offsets.heightAt(index);
      if (align === "top") following.value = false;
      if (align === "top") moveTo(start);
      else if (start < element.scrollTop) moveTo(start);
      else if (start + height + lead > element.scrollTop + element.clientHeight) {
        moveTo(Math.min(start, start + height + lead - element.clientHeight));
      }
    },
    toEnd(): void {
      following.value = true;
      toEnd();
    },
    toTop(): void {
      following.value = false;
      moveTo(0);
    },
    /** Stops following, as when the reader opens a row near the end. */
    hold(): void {
      following.value = false;
    },
  };
}
