import { UlyssesError, fieldError } from '@ulysses/errors';
import { clipSplits, splitRanges, splitSizes, type ExchangeSpec, type RowRange } from '@ulysses/plan';
import type { ExchangeView } from '@ulysses/rpc';

/** From what the owners said, in owner order, to the one spec that the exchange's plan follows from. */
export function resolveExchange(owners: readonly ExchangeView[], cpSize: number): ExchangeSpec {
  const view = owners[0];
  if (view === undefined) throw new UlyssesError('INVARIANT', 'a step without owners');
  if (owners.length !== cpSize) {
    const expected = `${cpSize}, the cp_size: an exchange alone has one owner per rank`;
    throw fieldError('SHAPE_MISMATCH', 'owner_count', owners.length, expected);
  }
  const { shape, scatterDim, gatherDim } = view;
  if (shape.length < 2) throw fieldError('SHAPE_MISMATCH', 'shape', shape, 'at least 2 dimensions');
  requireDim('scatter_dim', scatterDim, shape);
  requireDim('gather_dim', gatherDim, shape);
  const gatherRanges = gatherRangesOf(view, owners);
  return {
    dtype: view.dtype,
    shape: shape.map((extent, dim) => (dim === gatherDim ? gatheredExtent(view, gatherRanges) : extent)),
    scatterDim,
    gatherDim,
    scatterRanges: scatterRangesOf(view, cpSize),
    gatherRanges,
  };
}

function requireDim(field: string, dim: number, shape: readonly number[]): void {
  if (dim < shape.length) return;
  throw fieldError('SHAPE_MISMATCH', field, dim, `an integer from 0 to ${shape.length - 1}`);
}

function gatherRangesOf(view: ExchangeView, owners: readonly ExchangeView[]): readonly RowRange[] {
  const { gatherDim, gatherSize, gatherRanges } = view;
  const extents = owners.map(({ shape }) => shape[gatherDim]!);
  if (gatherRanges === null) {
    const rows = extents.reduce((sum, extent) => sum + extent, 0);
    if (gatherSize !== null && (gatherSize < 1 || gatherSize > rows)) {
      const expected = `null or an integer from 1 to ${rows}, the rows of all shards`;
      throw fieldError('SHAPE_MISMATCH', 'gather_size', gatherSize, expected);
    }
    return splitRanges(clipSplits(extents, gatherSize ?? rows));
  }
  extents.forEach((extent, owner) => {
    const range = gatherRanges[owner];
    if (range !== undefined && range.end - range.begin === extent) return;
    const field = `shape[${gatherDim}] of owner ${owner}`;
    const expected = range === undefined ? 'a range' : `${range.end - range.begin}`;
    throw fieldError('SHAPE_MISMATCH', field, extent, `${expected}, as gather_ranges have it`, {
      peer: `owner ${owner}`,
    });
  });
  return gatherRanges;
}

function gatheredExtent({ gatherSize }: ExchangeView, ranges: readonly RowRange[]): number {
  return gatherSize ?? ranges.reduce((largest, { end }) => Math.max(largest, end), 0);
}

function scatterRangesOf(view: ExchangeView, cpSize: number): readonly RowRange[] {
  if (view.scatterRanges !== null) return view.scatterRanges;
  const extent = view.shape[view.scatterDim]!;
  if (view.aligned && extent % cpSize !== 0) {
    const field = `shape[${view.scatterDim}]`;
    const expected = `a multiple of cp_size ${cpSize} in an aligned exchange; leave gatherSize out for any`;
    throw fieldError('SHAPE_MISMATCH', field, extent, expected);
  }
  return splitRanges(splitSizes(extent, cpSize));
}
