import { elementBytes } from '@ulysses/tensor';
import type { Receive, Region, RowsToSend, SegmentPlace, TensorName } from '@ulysses/native';
import {
  granulesOf,
  pairBytes,
  pairSegments,
  pairTotals,
  rankTable,
  type CarriedTensor,
  type Granule,
  type PairSegments,
  type Plan,
  type RowRange,
  type Segment,
} from '@ulysses/plan';
import { arrivals, blocksOf, type Arrivals } from './arrivals.js';
import { ownerParty, relayOf } from './party.js';
import { within } from './within.js';
import { unitPlaces, type BackwardMemory, type ForwardMemory, type UnitPlaces } from './unit-places.js';

/**
 * The unit owner's side of the exchange: which slices it expects where, and which it sends when a granule is done.
 */

/** Everything about one rank's part in a plan that does not change while the step runs. */
export interface UnitExchange {
  readonly plan: Plan;
  readonly places: UnitPlaces;
  /** What is computed at a time, in this order. */
  readonly granules: readonly Granule[];
  /** What the plane reports as it arrives. */
  readonly arrivals: Arrivals;
  /** Segments between this rank and every sequence owner, in owner order. */
  readonly byOwner: readonly PairSegments[];
  /** Per unit, where its rows go. */
  readonly unitTargets: readonly (readonly Target[])[];
  /** Per KV interval, where its partial sums go. */
  readonly kvTargets: readonly (readonly Target[])[];
}

/** One segment of a unit or interval, the owner it belongs to and its number on the wire. */
interface Target {
  readonly owner: number;
  readonly number: number;
  readonly segment: Segment;
}

export function unitExchange(plan: Plan, rank: number): UnitExchange {
  const table = rankTable(plan, rank);
  const places = unitPlaces(plan.spec, table);
  const byOwner = plan.spec.qSplits.map((_, owner) => pairSegments(plan, table, owner));
  const granules = granulesOf(plan, [table])[0]!;
  return {
    plan,
    places,
    granules,
    arrivals: arrivals(table, granules),
    byOwner,
    unitTargets: targets(byOwner, 'q', table.units.length),
    kvTargets: targets(byOwner, 'kv', table.kvIntervals.length),
  };
}

/** Forward: q rows of every unit, k and v rows of every interval, from every owner. */
export function forwardReceives(exchange: UnitExchange, memory: ForwardMemory): Receive[] {
  return inputReceives(exchange, memory, ['q', 'k', 'v']);
}

/** Backward: dout rows, and the inputs that were not kept. */
export function backwardReceives(
  exchange: UnitExchange,
  forward: ForwardMemory,
  memory: BackwardMemory,
  carried: readonly CarriedTensor[],
): Receive[] {
  const dout = exchange.byOwner.map(({ q }, owner) =>
    receive(owner, 'dout', q, (segment) => unitArrivalPlace(exchange, memory.dout, segment)),
  );
  return [...inputReceives(exchange, forward, carried), ...dout];
}

function inputReceives(
  exchange: UnitExchange,
  memory: ForwardMemory,
  tensors: readonly CarriedTensor[],
): Receive[] {
  return exchange.byOwner.flatMap(({ q, kv }, owner) =>
    tensors.map((tensor) =>
      tensor === 'q'
        ? receive(owner, tensor, q, (segment) => unitArrivalPlace(exchange, memory.q, segment))
        : receive(owner, tensor, kv, (segment) => kvArrivalPlace(exchange, memory[tensor], segment)),
    ),
  );
}

/** A finished granule's out and lse rows, for their owners. */
export function forwardGranuleSends(
  { places, unitTargets }: UnitExchange,
  memory: ForwardMemory,
  { unit, qBegin, qEnd }: Granule,
): RowsToSend[] {
  return sendsTo(unitTargets[unit], { begin: qBegin, end: qEnd }, (segment) => [
    ['out', unitSegmentPlace(places, memory.out, segment)],
    ['lse', lseSegmentPlace(places, memory.lse, segment)],
  ]);
}

export function backwardGranuleSends(
  { places, unitTargets }: UnitExchange,
  memory: BackwardMemory,
  { unit, qBegin, qEnd }: Granule,
): RowsToSend[] {
  return sendsTo(unitTargets[unit], { begin: qBegin, end: qEnd }, (segment) => [
    ['dq', unitSegmentPlace(places, memory.dq, segment)],
  ]);
}

/** An interval's dk and dv partial sums of the keys that no granule will add to any more. */
export function keyGradientSends(
  { places, kvTargets }: UnitExchange,
  memory: BackwardMemory,
  interval: number,
  keys: RowRange,
): RowsToSend[] {
  return sendsTo(kvTargets[interval], keys, (segment) => [
    ['dk', partialSegmentPlace(places, memory.dk, segment)],
    ['dv', partialSegmentPlace(places, memory.dv, segment)],
  ]);
}

function sendsTo(
  targets: readonly Target[] = [],
  rows: RowRange,
  placesOf: (segment: Segment) => readonly (readonly [TensorName, SegmentPlace])[],
): RowsToSend[] {
  return targets.flatMap(({ owner, number, segment }) => {
    const destination = ownerParty(owner);
    const part = within(segment, rows);
    if (part.begin === part.end) return [];
    return placesOf(segment).map(([tensor, place]) => ({ destination, tensor, number, place, rows: part }));
  });
}

/** Bytes a rank sends in one pass. */
export function unitOwnerSendBytes({ plan, byOwner }: UnitExchange, pass: 'forward' | 'backward'): number {
  return byOwner.reduce((sum, pair) => sum + pairTotals(pairBytes(plan.spec, pair, pass, [])).toOwner, 0);
}

/**
 * Bytes a rank forwards in one pass for the owners it relays: everything to and from the other ranks. Direct owners need
 * no relay.
 */
export function relayBytes(
  plan: Plan,
  rank: number,
  pass: 'forward' | 'backward',
  carried: readonly CarriedTensor[],
  directOwners: readonly number[],
): number {
  const relayed = plan.spec.qSplits.flatMap((_, owner) =>
    relayOf(owner, plan.cpSize) === rank && !directOwners.includes(owner) ? [owner] : [],
  );
  if (relayed.length === 0) return 0;
  let bytes = 0;
  for (let other = 0; other < plan.cpSize; other++) {
    if (other === rank) continue;
    const table = rankTable(plan, other);
    for (const owner of relayed) {
      const segments = pairSegments(plan, table, owner);
      const { toRank, toOwner } = pairTotals(pairBytes(plan.spec, segments, pass, carried));
      bytes += toRank + toOwner;
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

function targets(byOwner: readonly PairSegments[], kind: keyof PairSegments, count: number): Target[][] {
  const byIndex: Target[][] = Array.from({ length: count }, () => []);
  byOwner.forEach((pair, owner) => {
    pair[kind].forEach((segment, number) => byIndex[segment.index]?.push({ owner, number, segment }));
  });
  return byIndex;
}

function unitArrivalPlace(
  { places, arrivals }: UnitExchange,
  region: Region,
  segment: Segment,
): SegmentPlace {
  const blocks = blocksOf(arrivals.ofUnit[segment.index]!, segment);
  return { ...unitSegmentPlace(places, region, segment), ...blocks };
}

function kvArrivalPlace({ places, arrivals }: UnitExchange, region: Region, segment: Segment): SegmentPlace {
  const rowBytes = places.spec.headSize * elementBytes(places.spec.dtype);
  const blocks = blocksOf(arrivals.ofInterval[segment.index]!, segment);
  return { ...contiguous(region, kvRow(places, segment), segment, rowBytes), ...blocks };
}

function unitSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  const rowBytes = places.spec.headSize * elementBytes(places.spec.dtype);
  return contiguous(region, unitRow(places, segment), segment, rowBytes);
}

function lseSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  return contiguous(region, unitRow(places, segment), segment, 4);
}

function partialSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  return contiguous(region, kvRow(places, segment), segment, places.spec.headSize * 4);
}

function contiguous(region: Region, row: number, { begin, end }: RowRange, rowBytes: number): SegmentPlace {
  const offsetBytes = row * rowBytes;
  return { region, offsetBytes, rows: end - begin, rowBytes, rowStrideBytes: rowBytes, granule: 0 };
}

function unitRow(places: UnitPlaces, segment: Segment): number {
  const begin = places.table.units[segment.index]?.qBegin ?? 0;
  return (places.unitOffsets[segment.index] ?? 0) + segment.begin - begin;
}

function kvRow(places: UnitPlaces, segment: Segment): number {
  const begin = places.table.kvIntervals[segment.index]?.begin ?? 0;
  return (places.kvOffsets[segment.index] ?? 0) + segment.begin - begin;
}
