/** Ours against a peer, measured in turn so that both see the same machine. */
export interface Comparison {
  /** Medians over all windows. */
  readonly value: number;
  readonly peer: number;
  /** Median of the windows' ratios, ours over the peer's; and the least and most of them. */
  readonly ratio: number;
  readonly spread: readonly [number, number];
  readonly windows: number;
}

/** One window of each side: the quantity that is compared. */
export interface Window {
  readonly value: number;
  readonly peer: number;
}

/** A median of fewer says little, and their spread nothing: what has not so many is no result. */
export const LEAST_WINDOWS = 5;

export function compare(windows: readonly Window[]): Comparison {
  const ratios = enough(windows)
    .map(({ value, peer }) => value / peer)
    .sort(ascending);
  return {
    value: median(windows.map(({ value }) => value)),
    peer: median(windows.map(({ peer }) => peer)),
    ratio: median(ratios),
    spread: [ratios[0]!, ratios.at(-1)!],
    windows: windows.length,
  };
}

/** Both sides by turns, within one run; who begins changes, so that a machine that slows down is on nobody's side. */
export async function alternate<T>(
  count: number,
  ours: () => Promise<T>,
  theirs: () => Promise<T>,
): Promise<{ readonly value: T; readonly peer: T }[]> {
  const windows: { readonly value: T; readonly peer: T }[] = [];
  // The first of each warms up, and is dropped.
  for (let window = 0; window <= count; window++) {
    const [first, second] = window % 2 === 0 ? [ours, theirs] : [theirs, ours];
    const [one, other] = [await first(), await second()];
    const [value, peer] = first === ours ? [one, other] : [other, one];
    if (window > 0) windows.push({ value, peer });
  }
  return windows;
}

/** One side alone; the first window warms up, and is dropped. */
export async function repeated<T>(count: number, measure: () => Promise<T>): Promise<T[]> {
  await measure();
  const values: T[] = [];
  for (let window = 0; window < count; window++) values.push(await measure());
  return values;
}

/** The same windows, of which there are enough to say something. */
export function enough<T>(windows: readonly T[]): readonly T[] {
  if (windows.length >= LEAST_WINDOWS) return windows;
  throw new RangeError(`there are ${windows.length} windows, expected at least ${LEAST_WINDOWS}`);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort(ascending);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function ascending(a: number, b: number): number {
  return a - b;
}
