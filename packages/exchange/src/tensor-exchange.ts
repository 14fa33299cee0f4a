import { foldPartials, type Receive, type Region, type RowsToSend, type SegmentPlace } from '@ulysses/native';
import {
  boxBytes,
  placedBox,
  sentBox,
  type ExchangeBox,
  type ExchangePlan,
  type ExchangeSpec,
} from '@ulysses/plan';
import { elementBytes, type DType } from '@ulysses/tensor';
import { ownerParty } from './party.js';

/**
 * An owner's side of an exchange alone. What travels between two owners is one segment, number 0: one dimension of the
 * sender's tensor narrowed, so it is packed and placed as rows at a stride, never element by element.
 */

/** What goes to the other owners, the next one first: so no owner is sent to by all at once. */
export function exchangeSends({ spec }: ExchangePlan, owner: number, input: Region): RowsToSend[] {
  return others(spec, owner).map((to) => {
    const sent = place(sentBox(spec, owner, to), input);
    const rows = { begin: 0, end: sent.rows };
    return { destination: ownerParty(to), tensor: 'exchanged', number: 0, place: sent, rows };
  });
}

/** Where what the others send belongs in the output. Gather ranges must not overlap. */
export function exchangeReceives({ spec }: ExchangePlan, owner: number, output: Region): Receive[] {
  return others(spec, owner).map((from) => receive(from, placedBox(spec, from, owner), output));
}

/** The same with every owner's part in a region of its own, dense, for `foldExchange`. */
export function partialReceives(
  { spec }: ExchangePlan,
  owner: number,
  partials: readonly Region[],
): Receive[] {
  return others(spec, owner).flatMap((from) => {
    const region = partials[from];
    return region === undefined ? [] : [receive(from, dense(sentBox(spec, from, owner)), region)];
  });
}

/** Payload bytes of every owner's part of this owner's output, its own included. */
export function partialBytes({ spec }: ExchangePlan, owner: number): number[] {
  return spec.gatherRanges.map((_, from) => boxBytes(sentBox(spec, from, owner)));
}

/** Puts what an owner keeps to itself in its place; this does not travel. */
export function keepOwn({ spec }: ExchangePlan, owner: number, input: Region, output: Region): void {
  copyBox(input, sentBox(spec, owner, owner), output, placedBox(spec, owner, owner));
}

/** The same into this owner's region among the partials. */
export function keepOwnPartial({ spec }: ExchangePlan, owner: number, input: Region, partial: Region): void {
  const box = sentBox(spec, owner, owner);
  copyBox(input, box, partial, dense(box));
}

/** Copies a box from one tensor to another whose rows may be cut differently. */
export function copyBox(source: Region, from: ExchangeBox, target: Region, to: ExchangeBox): void {
  // The rows of one box are whole numbers of rows of the other, so the shorter ones are runs in both.
  const runBytes = Math.min(from.rowBytes, to.rowBytes);
  if (runBytes === 0) return;
  const [read, write] = [source.bytes, target.bytes];
  const bytes = boxBytes(from);
  for (let at = 0; at < bytes; at += runBytes) {
    const begin = placeOfByte(from, at);
    write.set(read.subarray(begin, begin + runBytes), placeOfByte(to, at));
  }
}

/**
 * Sums the owners' float32 parts of [a, n, c] where their gather ranges overlap, in owner order whatever arrived first, and
 * rounds once to `dtype`. What no owner holds stays zero.
 */
export async function foldExchange(
  { spec }: ExchangePlan,
  partials: readonly Region[],
  owner: number,
  output: Region,
  dtype: DType,
): Promise<void> {
  const { gatherRanges, shape, gatherDim } = spec;
  const { rows, rowStrideBytes } = placedBox(spec, 0, owner);
  const columns = rowStrideBytes / elementBytes(spec.dtype);
  if (rows === 0 || columns === 0) return;
  const inner = columns / shape[gatherDim]!;
  const edges = [...new Set(gatherRanges.flatMap(({ begin, end }) => [begin, end]))].sort((a, b) => a - b);
  await Promise.all(
    edges.slice(1).map(async (end, index) => {
      const begin = edges[index]!;
      const holders = gatherRanges.flatMap((range, from) =>
        range.begin <= begin && end <= range.end ? [{ from, range }] : [],
      );
      if (holders.length === 0) return;
      await foldPartials({
        dtype,
        rows,
        headSize: (end - begin) * inner,
        target: { region: output, offsetBytes: begin * inner * elementBytes(dtype), rowStride: columns },
        partials: holders.map(({ from, range }) => ({
          region: partials[from]!,
          offsetBytes: (begin - range.begin) * inner * 4,
          rowStride: (range.end - range.begin) * inner,
        })),
      });
    }),
  );
}

/** Owners but this one, beginning with the next. */
function others({ gatherRanges }: ExchangeSpec, owner: number): number[] {
  const count = gatherRanges.length;
  return Array.from({ length: count - 1 }, (_, step) => (owner + 1 + step) % count);
}

function receive(from: number, box: ExchangeBox, region: Region): Receive {
  return { source: ownerParty(from), tensor: 'exchanged', segments: [place(box, region)] };
}

function place({ offsetBytes, rows, rowBytes, rowStrideBytes }: ExchangeBox, region: Region): SegmentPlace {
  return { region, offsetBytes, rows, rowBytes, rowStrideBytes, granule: 0 };
}

/** The box as a tensor of its own. */
function dense({ rows, rowBytes }: ExchangeBox): ExchangeBox {
  return { offsetBytes: 0, rows, rowBytes, rowStrideBytes: rowBytes };
}

function placeOfByte({ offsetBytes, rowBytes, rowStrideBytes }: ExchangeBox, at: number): number {
  return offsetBytes + Math.floor(at / rowBytes) * rowStrideBytes + (at % rowBytes);
}
