import { fieldError, type UlyssesError } from '@ulysses/errors';
import type { Mask, RowRange } from './spec.js';
import { unsupported } from './supported.js';

/** A boolean attention mask: not zero means visible. Shape [s], [b, s] (keys) or [b, 1, s_q, s_kv]. */
export interface MaskTensor {
  readonly visible: ArrayLike<number>;
  readonly shape: readonly number[];
}

export interface MaskExtents {
  readonly batch: number;
  readonly sQ: number;
  readonly sKv: number;
}

/** Keys that one row sees; begin = end when none. */
type Row = RowRange;

const FIELD = 'attention_mask';

/**
 * Says a boolean mask in the mask algebra, exactly: every row sees the same keys, or the mask is refused with the first row
 * that does not fit. A key mask ([s] or [b, s]) makes valid ranges of keys, and of query rows too when s_q = s_kv.
 *
 * @throws UNSUPPORTED for what the algebra cannot say; SHAPE_MISMATCH for a shape that does not fit the tensors
 */
export function classifyMask(tensor: MaskTensor, extents: MaskExtents): Mask {
  const { batch, sQ, sKv } = extents;
  const elements = tensor.shape.reduce((product, extent) => product * extent, 1);
  if (tensor.visible.length !== elements) {
    throw fieldError(
      'SHAPE_MISMATCH',
      `${FIELD}.length`,
      tensor.visible.length,
      `${elements}, as its shape says`,
    );
  }
  switch (JSON.stringify(tensor.shape)) {
    case JSON.stringify([sKv]):
      return keyMask(tensor.visible, Array<number>(batch).fill(0), extents);
    case JSON.stringify([batch, sKv]):
      return keyMask(
        tensor.visible,
        Array.from({ length: batch }, (_, sample) => sample * sKv),
        extents,
      );
    case JSON.stringify([batch, 1, sQ, sKv]): {
      const samples = Array.from({ length: batch }, (_, sample) =>
        Array.from({ length: sQ }, (_row, row) =>
          visibleRun(tensor.visible, (sample * sQ + row) * sKv, sKv, `sample ${sample}, row ${row}`),
        ),
      );
      return rowMask(samples, extents);
    }
    default:
      throw fieldError(
        'SHAPE_MISMATCH',
        `${FIELD}.shape`,
        tensor.shape,
        `[${sKv}], [${batch}, ${sKv}] or [${batch}, 1, ${sQ}, ${sKv}]`,
      );
  }
}

function keyMask(visible: ArrayLike<number>, firsts: readonly number[], { sQ, sKv }: MaskExtents): Mask {
  const kv = firsts.map((first, sample) => visibleRun(visible, first, sKv, `sample ${sample}`));
  const q = sQ === sKv ? kv : kv.map(() => ({ begin: 0, end: sQ }));
  return { left: null, right: null, segments: null, validRanges: unlessFull({ q, kv }, sQ, sKv) };
}

function rowMask(samples: readonly (readonly Row[])[], extents: MaskExtents): Mask {
  const { batch, sQ, sKv } = extents;
  const ranges = {
    q: samples.map((rows) =>
      hull(rows.flatMap((row, i) => (isEmpty(row) ? [] : [{ begin: i, end: i + 1 }]))),
    ),
    kv: samples.map((rows) => hull(rows.filter((row) => !isEmpty(row)))),
  };
  const band = bandOf(
    samples.map((rows, sample) => ({ rows, offset: sKv - sQ, keys: ranges.kv[sample]!, first: 0 })),
  );
  const withRanges: Mask = { ...band, segments: null, validRanges: unlessFull(ranges, sQ, sKv) };
  const misfit = firstMisfit(samples, withRanges, extents);
  if (misfit === null) return withRanges;
  if (batch === 1 && sQ === sKv) {
    const packed = segmentMask(samples[0]!);
    if (firstMisfit(samples, packed, extents) === null) return packed;
  }
  throw refusal(`${misfit.where} sees keys [${misfit.row.begin}, ${misfit.row.end})`);
}

/** Packed self-attention: a segment starts where no row sees across, neither back nor ahead. */
function segmentMask(rows: readonly Row[]): Mask {
  const earliestFrom = rows.map(({ begin }) => begin);
  for (let row = rows.length - 2; row >= 0; row--) {
    earliestFrom[row] = Math.min(earliestFrom[row]!, earliestFrom[row + 1]!);
  }
  const starts: number[] = [];
  let latestBefore = 0;
  rows.forEach(({ end }, row) => {
    if (latestBefore <= row && earliestFrom[row]! >= row) starts.push(row);
    latestBefore = Math.max(latestBefore, end);
  });
  const cuSeqlens = [...starts, rows.length];
  const band = bandOf(
    starts.map((first, segment) => {
      const end = cuSeqlens[segment + 1]!;
      return { rows: rows.slice(first, end), offset: 0, keys: { begin: first, end }, first };
    }),
  );
  return { ...band, segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens }, validRanges: null };
}

/** Rows from `first` on, whose diagonal is at row + offset, and which see nothing outside `keys`. */
interface Block {
  readonly rows: readonly Row[];
  readonly offset: number;
  readonly keys: RowRange;
  readonly first: number;
}

/** The band that the rows' ends suggest where they are not the ends of all keys; `firstMisfit` decides. */
function bandOf(blocks: readonly Block[]): Pick<Mask, 'left' | 'right'> {
  let left: number | null = null;
  let right: number | null = null;
  for (const { rows, offset, keys, first } of blocks) {
    rows.forEach((row, i) => {
      if (isEmpty(row)) return;
      const diagonal = first + i + offset;
      if (row.begin > keys.begin) left ??= Math.max(0, diagonal - row.begin);
      if (row.end < keys.end) right ??= Math.max(0, row.end - 1 - diagonal);
    });
  }
  return { left, right };
}

/** The first row that sees other keys than the mask says. */
function firstMisfit(
  samples: readonly (readonly Row[])[],
  mask: Mask,
  { sQ, sKv }: MaskExtents,
): { readonly where: string; readonly row: Row } | null {
  for (const [sample, rows] of samples.entries()) {
    for (const [i, row] of rows.entries()) {
      const said = saidBy(mask, sample, i, sQ, sKv);
      const same = isEmpty(row) ? isEmpty(said) : row.begin === said.begin && row.end === said.end;
      if (!same) return { where: `sample ${sample}, row ${i}`, row };
    }
  }
  return null;
}

/** What row `i` sees, by the definition of the algebra. */
function saidBy(mask: Mask, sample: number, i: number, sQ: number, sKv: number): Row {
  let keys: RowRange = { begin: 0, end: sKv };
  let diagonal = i + sKv - sQ;
  if (mask.segments !== null) {
    const { cuSeqlensQ } = mask.segments;
    const segment = cuSeqlensQ.findLastIndex((start, index) => start <= i && index + 1 < cuSeqlensQ.length);
    keys = { begin: cuSeqlensQ[segment]!, end: cuSeqlensQ[segment + 1]! };
    diagonal = i;
  }
  if (mask.validRanges !== null) {
    const rows = mask.validRanges.q[sample]!;
    if (i < rows.begin || i >= rows.end) return { begin: 0, end: 0 };
    keys = mask.validRanges.kv[sample]!;
  }
  return {
    begin: mask.left === null ? keys.begin : Math.max(keys.begin, diagonal - mask.left),
    end: mask.right === null ? keys.end : Math.min(keys.end, diagonal + mask.right + 1),
  };
}

/** The one run of visible elements among `length` from `first` on. */
function visibleRun(visible: ArrayLike<number>, first: number, length: number, where: string): RowRange {
  let begin = -1;
  let end = -1;
  for (let i = 0; i < length; i++) {
    if (!visible[first + i]) continue;
    if (begin < 0) begin = i;
    else if (end !== i)
      throw refusal(`${where} sees key ${i} but not key ${i - 1}, which is between keys it sees`);
    end = i + 1;
  }
  return begin < 0 ? { begin: 0, end: 0 } : { begin, end };
}

function unlessFull(ranges: NonNullable<Mask['validRanges']>, sQ: number, sKv: number): Mask['validRanges'] {
  const full = (range: RowRange, length: number): boolean => range.begin === 0 && range.end === length;
  return ranges.q.every((range) => full(range, sQ)) && ranges.kv.every((range) => full(range, sKv))
    ? null
    : ranges;
}

function hull(ranges: readonly RowRange[]): RowRange {
  if (ranges.length === 0) return { begin: 0, end: 0 };
  return ranges.reduce((all, { begin, end }) => ({
    begin: Math.min(all.begin, begin),
    end: Math.max(all.end, end),
  }));
}

function isEmpty({ begin, end }: RowRange): boolean {
  return begin >= end;
}

function refusal(misfit: string): UlyssesError {
  return unsupported('attentionMask', misfit, FIELD);
}
