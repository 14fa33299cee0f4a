import { elementBytes } from '@ulysses/tensor';
import type { Receive, Region, SegmentPlace, TensorName } from '@ulysses/native';
import {
  pairBytes,
  pairSegments,
  pairTotals,
  rankTable,
  type CarriedTensor,
  type PairSegments,
  type Plan,
  type Segment,
} from '@ulysses/plan';
import { ownerParty, relayOf } from './party.js';
import type { StepChannel } from './step-channel.js';
import { unitPlaces, type BackwardMemory, type ForwardMemory, type UnitPlaces } from './unit-places.js';

/**
 * The unit owner's side of the exchange: which slices it expects where, and which it sends when a unit is done.
 * Granule i is unit i's own rows; granule units + j is KV interval j (k and v together).
 */

/** Everything about one rank's part in a plan that does not change while the step runs. */
export interface UnitExchange {
  readonly plan: Plan;
  readonly places: UnitPlaces;
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
  return {
    plan,
    places,
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
  const { places, byOwner } = exchange;
  const dout = byOwner.map(({ q }, owner) =>
    receive(owner, 'dout', q, (segment) => unitSegmentPlace(places, memory.dout, segment)),
  );
  return [...inputReceives(exchange, forward, carried), ...dout];
}

function inputReceives(
  { places, byOwner }: UnitExchange,
  memory: ForwardMemory,
  tensors: readonly CarriedTensor[],
): Receive[] {
  const units = places.table.units.length;
  return byOwner.flatMap(({ q, kv }, owner) =>
    tensors.map((tensor) =>
      tensor === 'q'
        ? receive(owner, tensor, q, (segment) => unitSegmentPlace(places, memory.q, segment))
        : receive(owner, tensor, kv, (segment) => kvSegmentPlace(places, memory[tensor], segment, units)),
    ),
  );
}

/** Sends a finished unit's out and lse rows to their owners. */
export function sendForwardUnit(
  channel: StepChannel,
  { places, unitTargets }: UnitExchange,
  memory: ForwardMemory,
  unit: number,
): void {
  for (const { owner, number, segment } of unitTargets[unit] ?? []) {
    channel.send(ownerParty(owner), 'out', number, unitSegmentPlace(places, memory.out, segment));
    channel.send(ownerParty(owner), 'lse', number, lseSegmentPlace(places, memory.lse, segment));
  }
}

export function sendBackwardUnit(
  channel: StepChannel,
  { places, unitTargets }: UnitExchange,
  memory: BackwardMemory,
  unit: number,
): void {
  for (const { owner, number, segment } of unitTargets[unit] ?? []) {
    channel.send(ownerParty(owner), 'dq', number, unitSegmentPlace(places, memory.dq, segment));
  }
}

/** Sends an interval's dk and dv partial sums once the last unit that reads it is done. */
export function sendBackwardInterval(
  channel: StepChannel,
  { places, kvTargets }: UnitExchange,
  memory: BackwardMemory,
  interval: number,
): void {
  for (const { owner, number, segment } of kvTargets[interval] ?? []) {
    channel.send(ownerParty(owner), 'dk', number, partialSegmentPlace(places, memory.dk, segment));
    channel.send(ownerParty(owner), 'dv', number, partialSegmentPlace(places, memory.dv, segment));
  }
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

function unitSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  const rowBytes = places.spec.headSize * elementBytes(places.spec.dtype);
  return contiguous(region, unitRow(places, segment), segment, rowBytes, segment.index);
}

function lseSegmentPlace(places: UnitPlaces, region: Region, segment: Segment): SegmentPlace {
  return contiguous(region, unitRow(places, segment), segment, 4, segment.index);
}

function kvSegmentPlace(
  places: UnitPlaces,
  region: Region,
  segment: Segment,
  granuleOffset: number,
): SegmentPlace {
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
  return {
    region,
    offsetBytes,
    rows: segment.end - segment.begin,
    rowBytes,
    rowStrideBytes: rowBytes,
    granule,
  };
}

function unitRow(places: UnitPlaces, segment: Segment): number {
  const begin = places.table.units[segment.index]?.qBegin ?? 0;
  return (places.unitOffsets[segment.index] ?? 0) + segment.begin - begin;
}

function kvRow(places: UnitPlaces, segment: Segment): number {
  const begin = places.table.kvIntervals[segment.index]?.begin ?? 0;
  return (places.kvOffsets[segment.index] ?? 0) + segment.begin - begin;
}
