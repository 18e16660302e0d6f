/** Where each row of a long list begins: estimated heights, replaced by measured ones as rows are shown. */

export class RowOffsets {
  private keys: readonly string[] = [];
  private places = new Map<string, number>();
  private readonly measured = new Map<string, number>();
  private starts = new Float64Array(1);
  private validTo = 0;

  constructor(private readonly estimate: (index: number) => number) {}

  setKeys(keys: readonly string[]): void {
    this.keys = keys;
    this.places = new Map(keys.map((key, index) => [key, index]));
    this.starts = new Float64Array(keys.length + 1);
    this.validTo = 0;
  }

  get count(): number {
    return this.keys.length;
  }

  keyAt(index: number): string | null {
    return this.keys[index] ?? null;
  }

  indexOf(key: string): number {
    return this.places.get(key) ?? -1;
  }

  /** Records a measured height in pixels; returns by how much the row changed. */
  setHeight(key: string, height: number): number {
    const index = this.indexOf(key);
    if (index < 0) return 0;
    const before = this.heightAt(index);
    if (before === height) return 0;
    this.measured.set(key, height);
    this.validTo = Math.min(this.validTo, index);
    return height - before;
  }

  heightAt(index: number): number {
    const key = this.keys[index];
    return key === undefined ? 0 : (this.measured.get(key) ?? this.estimate(index));
  }

  /** Forgets measured heights, as when the width changed. */
  forget(): void {
    this.measured.clear();
    this.validTo = 0;
  }

  /** Pixels from the top of the list to the row's top; the list's whole height for `count`. */
  startOf(index: number): number {
    const wanted = Math.max(0, Math.min(index, this.keys.length));
    for (let place = this.validTo; place < wanted; place += 1) {
      this.starts[place + 1] = (this.starts[place] ?? 0) + this.heightAt(place);
    }
    this.validTo = Math.max(this.validTo, wanted);
    return this.starts[wanted] ?? 0;
  }

  get total(): number {
    return this.startOf(this.keys.length);
  }

  /** The row that covers the given pixel; clamped to the first and last. */
  indexAt(pixel: number): number {
    if (this.keys.length === 0 || pixel <= 0) return 0;
    if (pixel >= this.total) return this.keys.length - 1;
    let low = 0;
    let high = this.keys.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= pixel) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
