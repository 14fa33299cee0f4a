import { elementBytes } from '@ulysses/tensor';
import { Region, type Rows } from '@ulysses/native';
import {
  carriedTensors,
  type Granule,
  type KvCachePolicy,
  type RankTable,
  type StepSpec,
} from '@ulysses/plan';

/**
 * Where a rank's units and KV intervals lie in its regions: one region per tensor, units (or intervals) one after
 * the other in plan order, each [rows, d] contiguous. All offsets are in rows.
 */
export interface UnitPlaces {
  readonly spec: StepSpec;
  readonly table: RankTable;
  /** Per unit, its first row in q-like regions; one more entry holds the total. */
  readonly unitOffsets: readonly number[];
  /** Per KV interval, its first row in k-like regions; one more entry holds the total. */
  readonly kvOffsets: readonly number[];
}

export function unitPlaces(spec: StepSpec, table: RankTable): UnitPlaces {
  return {
    spec,
    table,
    unitOffsets: runningSums(table.units.map((unit) => unit.qEnd - unit.qBegin)),
    kvOffsets: runningSums(table.kvIntervals.map((interval) => interval.end - interval.begin)),
  };
}

/** What forward reads and writes on a rank; backward reads it again. Bytes per row: d elements, lse one float32. */
export interface ForwardMemory {
  readonly q: Region;
  readonly k: Region;
  readonly v: Region;
  readonly out: Region;
  readonly lse: Region;
}

/** What backward adds: dout and dq in the step's dtype, dk and dv partial sums in float32. */
export interface BackwardMemory {
  readonly dout: Region;
  readonly dq: Region;
  readonly dk: Region;
  readonly dv: Region;
}

export function allocateForward(places: UnitPlaces): ForwardMemory {
  const { qRows, kvRows, rowBytes } = totals(places);
  return {
    q: Region.allocate(qRows * rowBytes),
    k: Region.allocate(kvRows * rowBytes),
    v: Region.allocate(kvRows * rowBytes),
    out: Region.allocateShared(qRows * rowBytes),
    lse: Region.allocateShared(qRows * 4),
  };
}

/** What of a forward stays on its rank: all but the k and v that backward carries again. */
export type KeptMemory = Omit<ForwardMemory, 'k' | 'v'> & Partial<Pick<ForwardMemory, 'k' | 'v'>>;

/** Frees what backward will carry again, and gives the rest. */
export function keepMemory(memory: ForwardMemory, policy: KvCachePolicy): KeptMemory {
  const carried = carriedTensors('store', policy);
  freeMemory(memory, carried);
  const { k, v, ...rest } = memory;
  return { ...rest, ...(carried.includes('k') ? {} : { k }), ...(carried.includes('v') ? {} : { v }) };
}

/** Kept memory made whole for a backward, with fresh regions for what it carries; `free` is for those. */
export function completeMemory(
  places: UnitPlaces,
  kept: KeptMemory,
): { readonly forward: ForwardMemory; readonly free: () => void } {
  const { kvRows, rowBytes } = totals(places);
  const k = kept.k ?? Region.allocate(kvRows * rowBytes);
  const v = kept.v ?? Region.allocate(kvRows * rowBytes);
  const free = (): void => {
    if (kept.k === undefined) k.free();
    if (kept.v === undefined) v.free();
  };
  return { forward: { ...kept, k, v }, free };
}

export function allocateBackward(places: UnitPlaces): BackwardMemory {
  const { qRows, kvRows, rowBytes } = totals(places);
  const partialBytes = kvRows * places.spec.headSize * 4;
  return {
    dout: Region.allocate(qRows * rowBytes),
    dq: Region.allocateShared(qRows * rowBytes),
    dk: Region.allocateShared(partialBytes),
    dv: Region.allocateShared(partialBytes),
  };
}

/** Frees the regions named, or all; what is freed already stays so. */
export function freeMemory<T extends KeptMemory | BackwardMemory>(
  memory: T,
  names: readonly (keyof T)[] = Object.keys(memory) as (keyof T)[],
): void {
  for (const name of names) (memory[name] as Region).free();
}

/** A granule's rows in a q-like region of the step's dtype. */
export function granuleRows(places: UnitPlaces, region: Region, granule: Granule): Rows {
  const { headSize, dtype } = places.spec;
  const offsetBytes = granuleRow(places, granule) * headSize * elementBytes(dtype);
  return { region, offsetBytes, rowStride: headSize };
}

/** One float32 per row of a granule. */
export function granuleLse(places: UnitPlaces, region: Region, granule: Granule): Rows {
  return { region, offsetBytes: granuleRow(places, granule) * 4, rowStride: 1 };
}

/** The keys that a granule sees in a k-like region; none are an empty view at the front. */
export function granuleKeys(
  { spec: { headSize }, table, kvOffsets }: UnitPlaces,
  region: Region,
  { unit, keys }: Granule,
  bytesPerElement: number,
): Rows {
  const interval = table.kvIntervalOfUnit[unit]!;
  const row = keys === null ? 0 : kvOffsets[interval]! + keys.begin - table.kvIntervals[interval]!.begin;
  return { region, offsetBytes: row * headSize * bytesPerElement, rowStride: headSize };
}

function granuleRow({ table, unitOffsets }: UnitPlaces, { unit, qBegin }: Granule): number {
  return unitOffsets[unit]! + qBegin - table.units[unit]!.qBegin;
}

function totals(places: UnitPlaces): { qRows: number; kvRows: number; rowBytes: number } {
  return {
    qRows: places.unitOffsets.at(-1) ?? 0,
    kvRows: places.kvOffsets.at(-1) ?? 0,
    rowBytes: places.spec.headSize * elementBytes(places.spec.dtype),
  };
}

function runningSums(rows: readonly number[]): number[] {
  const sums = [0];
  let sum = 0;
  for (const count of rows) {
    sum += count;
    sums.push(sum);
  }
  return sums;
}
