import { elementBytes } from '@ulysses/tensor';
import type { Receive, Region, SegmentPlace, TensorName } from '@ulysses/native';
import { pairSegments, rankTable, type PairSegments, type Plan, type Segment } from '@ulysses/plan';
import { ownerParty, relayOf } from './party.js';
import type { StepChannel } from './step-channel.js';
import type { BackwardMemory, ForwardMemory, UnitPlaces } from './unit-places.js';

/**
 * The unit owner's side of the exchange: which slices it expects where, and which it sends when a unit is done.
 * Granule i is unit i's own rows; granule units + j is KV interval j (k and v together).
 */

/** Segments between this rank and every sequence owner, in owner order. */
export function segmentsByOwner(plan: Plan, places: UnitPlaces): readonly PairSegments[] {
  return plan.spec.qSplits.map((_, owner) => pairSegments(plan, places.table, owner));
}

/** Forward: q rows of every unit, k and v rows of every interval, from every owner. */
export function forwardReceives(
  places: UnitPlaces,
  byOwner: readonly PairSegments[],
  memory: ForwardMemory,
): Receive[] {
  const units = places.table.units.length;
  return byOwner.flatMap(({ q, kv }, owner) => [
    receive(owner, 'q', q, (segment) => unitSegmentPlace(places, memory.q, segment)),
    receive(owner, 'k', kv, (segment) => kvSegmentPlace(places, memory.k, segment, units)),
    receive(owner, 'v', kv, (segment) => kvSegmentPlace(places, memory.v, segment, units)),
  ]);
}

/** Backward: only dout travels; everything else was kept. */
export function backwardReceives(
  places: UnitPlaces,
  byOwner: readonly PairSegments[],
  memory: BackwardMemory,
): Receive[] {
  return byOwner.map(({ q }, owner) =>
    receive(owner, 'dout', q, (segment) => unitSegmentPlace(places, memory.dout, segment)),
  );
}

/** Sends a finished unit's out and lse rows to their owners. */
export function sendForwardUnit(
  channel: StepChannel,
  places: UnitPlaces,
  byOwner: readonly PairSegments[],
  memory: ForwardMemory,
  unit: number,
): void {
  forEachSegment(byOwner, 'q', unit, (owner, number, segment) => {
    channel.send(ownerParty(owner), 'out', number, unitSegmentPlace(places, memory.out, segment));
    channel.send(ownerParty(owner), 'lse', number, lseSegmentPlace(places, memory.lse, segment));
  });
}

export function sendBackwardUnit(
  channel: StepChannel,
  places: UnitPlaces,
  byOwner: readonly PairSegments[],
  memory: BackwardMemory,
  unit: number,
): void {
  forEachSegment(byOwner, 'q', unit, (owner, number, segment) => {
    channel.send(ownerParty(owner), 'dq', number, unitSegmentPlace(places, memory.dq, segment));
  });
}

/** Sends an interval's dk and dv partial sums once the last unit that reads it is done. */
export function sendBackwardInterval(
  channel: StepChannel,
  places: UnitPlaces,
  byOwner: readonly PairSegments[],
  memory: BackwardMemory,
  interval: number,
): void {
  forEachSegment(byOwner, 'kv', interval, (owner, number, segment) => {
    channel.send(ownerParty(owner), 'dk', number, partialSegmentPlace(places, memory.dk, segment));
    channel.send(ownerParty(owner), 'dv', number, partialSegmentPlace(places, memory.dv, segment));
  });
}

/** Payload bytes between one owner and one rank; both ends and the plan agree on them exactly. */
export interface PairBytes {
  /** Owner to rank. */
  readonly scattered: number;
  /** Rank to owner. */
  readonly returned: number;
}

export function pairBytes(plan: Plan, { q, kv }: PairSegments, pass: 'forward' | 'backward'): PairBytes {
  const { headSize, dtype } = plan.spec;
  const rowBytes = headSize * elementBytes(dtype);
  const qRows = rows(q);
  const kvRows = rows(kv);
  return pass === 'forward'
    ? { scattered: qRows * rowBytes + 2 * kvRows * rowBytes, returned: qRows * (rowBytes + 4) }
    : { scattered: qRows * rowBytes, returned: qRows * rowBytes + 2 * kvRows * headSize * 4 };
}

/** Bytes a rank sends in one pass. */
export function unitOwnerSendBytes(
  plan: Plan,
  byOwner: readonly PairSegments[],
  pass: 'forward' | 'backward',
): number {
  return byOwner.reduce((sum, pair) => sum + pairBytes(plan, pair, pass).returned, 0);
}

/** Bytes a rank forwards in one pass for the owners it relays: everything to and from the other ranks. */
export function relayBytes(plan: Plan, rank: number, pass: 'forward' | 'backward'): number {
  const relayed = plan.spec.qSplits.flatMap((_, owner) => (relayOf(owner, plan.cpSize) === rank ? [owner] : []));
  if (relayed.length === 0) return 0;
  let bytes = 0;
  for (let other = 0; other < plan.cpSize; other++) {
    if (other === rank) continue;
    const table = rankTable(plan, other);
    for (const owner of relayed) {
      const { scattered, returned } = pairBytes(plan, pairSegments(plan, table, owner), pass);
      bytes += scattered + returned;
    }
  }
  return bytes;
}

function receive(
  owner: number,
  tensor: TensorName,
  segments: readonly Segment[],
  place: (segment: Segment) => SegmentPlace,
): Receive {
  return { source: ownerParty(owner), tensor, segments: segments.map(place) };
}

function forEachSegment(
  byOwner: readonly PairSegments[],
  kind: keyof PairSegments,
  index: number,
  visit: (owner: number, number: number, segment: Segment) => void,
): void {
  byOwner.forEach((pair, owner) => {
    pair[kind].forEach((segment, number) => {
      if (segment.index === index) visit(owner, number, segment);
    });
  });
}

function unitSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  const rowBytes = places.spec.headSize * elementBytes(places.spec.dtype);
  return contiguous(region, unitRow(places, segment), segment, rowBytes, segment.index);
}

function lseSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  return contiguous(region, unitRow(places, segment), segment, 4, segment.index);
}

function kvSegmentPlace(places: UnitPlaces, region: Region, segment: Segment, granuleOffset: number): SegmentPlace {
  const rowBytes = places.spec.headSize * elementBytes(places.spec.dtype);
  return contiguous(region, kvRow(places, segment), segment, rowBytes, granuleOffset + segment.index);
}

function partialSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  return contiguous(region, kvRow(places, segment), segment, places.spec.headSize * 4, segment.index);
}

function contiguous(
  region: Region,
  row: number,
  segment: Segment,
  rowBytes: number,
  granule: number,
): SegmentPlace {
  const offsetBytes = row * rowBytes;
  return { region, offsetBytes, rows: segment.end - segment.begin, rowBytes, rowStrideBytes: rowBytes, granule };
}

function unitRow(places: UnitPlaces, segment: Segment): number {
  const begin = places.table.units[segment.index]?.qBegin ?? 0;
  return (places.unitOffsets[segment.index] ?? 0) + segment.begin - begin;
}

function kvRow(places: UnitPlaces, segment: Segment): number {
  const begin = places.table.kvIntervals[segment.index]?.begin ?? 0;
  return (places.kvOffsets[segment.index] ?? 0) + segment.begin - begin;
}

function rows(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.end - segment.begin, 0);
}
