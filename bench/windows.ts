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

export function compare(windows: readonly Window[]): Comparison {
  const ratios = windows.map(({ value, peer }) => value / peer).sort(ascending);
  return {
    value: median(windows.map(({ value }) => value)),
    peer: median(windows.map(({ peer }) => peer)),
    ratio: median(ratios),
    spread: [ratios[0]!, ratios.at(-1)!],
    windows: windows.length,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort(ascending);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function ascending(a: number, b: number): number {
  return a - b;
}
