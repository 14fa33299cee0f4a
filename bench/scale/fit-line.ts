export interface Line {
  readonly base: number;
  readonly slope: number;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/**
 * The line nearest to points, by least squares of y, among those of a cost: it neither begins below nothing nor falls, whatever noise
 * says, because it is drawn on far beyond the points.
 */
export function fitCost(points: readonly Point[]): Line {
  const mean = (value: (point: Point) => number): number =>
    points.reduce((sum, point) => sum + value(point), 0) / points.length;
  const [x, y] = [mean((point) => point.x), mean((point) => point.y)];
  const slope = mean((point) => (point.x - x) * (point.y - y)) / mean((point) => (point.x - x) ** 2);
  if (slope < 0) return { base: y, slope: 0 };
  const base = y - slope * x;
  if (base >= 0) return { base, slope };
  return { base: 0, slope: mean((point) => point.x * point.y) / mean((point) => point.x ** 2) };
}
