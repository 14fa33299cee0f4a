export interface Line {
  readonly base: number;
  readonly slope: number;
}

/** The line nearest to points, by least squares of y. */
export function fitLine(points: readonly { readonly x: number; readonly y: number }[]): Line {
  const mean = (value: (point: { x: number; y: number }) => number): number =>
    points.reduce((sum, point) => sum + value(point), 0) / points.length;
  const [x, y] = [mean((point) => point.x), mean((point) => point.y)];
  const slope = mean((point) => (point.x - x) * (point.y - y)) / mean((point) => (point.x - x) ** 2);
  return { base: y - slope * x, slope };
}
