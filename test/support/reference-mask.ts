import type { Mask } from '@ulysses/plan';

/** Whether query row `row` of sample `batch` sees key `key`. */
export type Visible = (batch: number, row: number, key: number) => boolean;

export const causal: Visible = (_batch, row, key) => key <= row;
export const full: Visible = () => true;

/**
 * The mask algebra asked one (row, key) pair at a time, straight from its definition in packages/plan/src/spec.ts and
 * with none of its code, so that an error in the product's interval arithmetic cannot hide here.
 */
export function visibleBy(mask: Mask, rows: number, keys: number): Visible {
  const { left, right, segments, validRanges } = mask;
  const withinBand = (row: number, key: number, segmentRows: number, segmentKeys: number): boolean => {
    const diagonal = row + segmentKeys - segmentRows;
    return (left === null || key >= diagonal - left) && (right === null || key <= diagonal + right);
  };
  if (segments !== null) {
    const rowSegments = segmentOfEach(segments.cuSeqlensQ);
    const keySegments = segmentOfEach(segments.cuSeqlensKv);
    return (_batch, row, key) => {
      const segment = rowSegments[row];
      if (segment === undefined || segment !== keySegments[key]) return false;
      const [rowBegin, rowEnd] = [segments.cuSeqlensQ[segment]!, segments.cuSeqlensQ[segment + 1]!];
      const [keyBegin, keyEnd] = [segments.cuSeqlensKv[segment]!, segments.cuSeqlensKv[segment + 1]!];
      return withinBand(row - rowBegin, key - keyBegin, rowEnd - rowBegin, keyEnd - keyBegin);
    };
  }
  return (batch, row, key) => {
    if (validRanges !== null) {
      const [validRows, validKeys] = [validRanges.q[batch]!, validRanges.kv[batch]!];
      if (row < validRows.begin || row >= validRows.end) return false;
      if (key < validKeys.begin || key >= validKeys.end) return false;
    }
    return withinBand(row, key, rows, keys);
  };
}

/** For every token, the number of the segment it is in. */
function segmentOfEach(cuSeqlens: readonly number[]): number[] {
  const segments: number[] = [];
  for (let segment = 0; segment + 1 < cuSeqlens.length; segment++) {
    for (let token = cuSeqlens[segment]!; token < cuSeqlens[segment + 1]!; token++) segments.push(segment);
  }
  return segments;
}
