import { Region, type Receive, type RowsToSend, type SegmentPlace, type TensorName } from '@ulysses/native';
import {
  carriedTensors,
  createPlan,
  KEEPS,
  KV_CACHE_POLICIES,
  pairBytes,
  pairTotals,
  type Plan,
  type StepSpec,
} from '@ulysses/plan';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { foldGradients } from './fold-partials.js';
import {
  backwardReturns,
  backwardSends,
  forwardReturns,
  forwardSends,
  ownerBytes,
  ownerExchange,
  segmentOffsets,
  type OwnerExchange,
} from './sequence-owner.js';
import { backwardReceives, forwardReceives, unitExchange, unitOwnerSendBytes } from './unit-owner.js';
import { allocateBackward, allocateForward } from './unit-places.js';

const FULL = { left: null, right: null, segments: null, validRanges: null };

/** Random small steps: uneven and empty shards, heads that do not divide, rows beyond the gather size, GQA. */
const steps = fc
  .record({
    cpSize: fc.integer({ min: 1, max: 5 }),
    shards: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 }),
    tailRows: fc.integer({ min: 0, max: 3 }),
    batch: fc.integer({ min: 1, max: 2 }),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 3 }),
    headSize: fc.integer({ min: 1, max: 5 }),
    layout: fc.constantFrom('sbhd' as const, 'bshd' as const),
    causal: fc.boolean(),
    strategy: fc.constantFrom('heads' as const, 'balanced' as const),
  })
  .filter(({ shards }) => shards.some((rows) => rows > 0));

/** What a backward carries beside dout: every keep mode and KV-cache policy. */
const retentions = fc
  .record({ keep: fc.constantFrom(...KEEPS), policy: fc.constantFrom(...KV_CACHE_POLICIES) })
  .map(({ keep, policy }) => carriedTensors(keep, policy));

function planOf(step: typeof steps extends fc.Arbitrary<infer T> ? T : never): Plan {
  const spec: StepSpec = {
    dtype: 'f32',
    layout: step.layout,
    batch: step.batch,
    qHeads: step.kvHeads * step.group,
    kvHeads: step.kvHeads,
    headSize: step.headSize,
    qSplits: step.shards,
    kvSplits: step.shards,
    mask: { ...FULL, right: step.causal ? 0 : null },
    scale: 1,
    strategy: step.strategy,
    weights: null,
  };
  return createPlan(spec, step.cpSize);
}

/** The wire, in memory: some of one segment's rows from one place to another. */
function copySegment(from: SegmentPlace, to: SegmentPlace, rows = { begin: 0, end: from.rows }): void {
  expect([from.rows, from.rowBytes]).toEqual([to.rows, to.rowBytes]);
  for (let row = rows.begin; row < rows.end; row++) {
    const source = from.offsetBytes + row * from.rowStrideBytes;
    to.region.bytes.set(
      from.region.bytes.subarray(source, source + from.rowBytes),
      to.offsetBytes + row * to.rowStrideBytes,
    );
  }
}

function deliver(
  sends: readonly RowsToSend[],
  owner: number,
  receivesOf: (rank: number) => readonly Receive[],
): number {
  let bytes = 0;
  for (const { destination, tensor, number, place, rows } of sends) {
    const receive = receivesOf(destination.index).find(
      ({ source, tensor: expected }) => source.index === owner && expected === tensor,
    );
    const target = receive?.segments[number];
    if (target === undefined)
      throw new Error(`rank ${destination.index} expects no segment ${number} of ${tensor}`);
    copySegment(place, target, rows);
    bytes += (rows.end - rows.begin) * place.rowBytes;
  }
  return bytes;
}

function segmentsOf(
  receives: readonly Receive[],
  index: number,
  tensor: TensorName,
): readonly SegmentPlace[] {
  return (
    receives.find(({ source, tensor: found }) => source.index === index && found === tensor)?.segments ?? []
  );
}

/** 1, 2, 3, … so that every element is told from every other and from the zeros of fresh memory. */
function counting(elements: number): Region {
  const region = Region.allocate(elements * 4);
  region.float32().set(Float32Array.from({ length: elements }, (_, i) => i + 1));
  return region;
}

/** What the owner should get back of `sent`: the same, but zeros in the rows that were not exchanged. */
function exchangedOnly(exchange: OwnerExchange, kind: 'q' | 'kv', sent: Region, heads: number): Float32Array {
  const { plan, owner } = exchange;
  const { strides } = exchange[kind];
  const expected = new Float32Array(sent.float32().length);
  const splits = kind === 'q' ? plan.spec.qSplits : plan.spec.kvSplits;
  for (let row = 0; row < (splits[owner] ?? 0); row++) {
    for (let batch = 0; batch < plan.spec.batch; batch++) {
      for (let head = 0; head < heads; head++) {
        const first = row * strides.row + batch * strides.batch + head * strides.head;
        expected.set(sent.float32().subarray(first, first + plan.spec.headSize), first);
      }
    }
  }
  return expected;
}

describe('the exchange, both sides', () => {
  it('forward: every exchanged row reaches its unit and its result comes back to its place, other rows stay zero', () => {
    fc.assert(
      fc.property(steps, (step) => {
        const plan = planOf(step);
        const { spec } = plan;
        const ranks = Array.from({ length: plan.cpSize }, (_, rank) => {
          const exchange = unitExchange(plan, rank);
          const memory = allocateForward(exchange.places);
          return { exchange, memory, receives: forwardReceives(exchange, memory) };
        });
        const owners = step.shards.map((rows, owner) => {
          const shard = { q: rows + step.tailRows, kv: rows + step.tailRows };
          const exchange = ownerExchange(plan, owner, shard);
          const perRow = spec.batch * spec.headSize;
          const inputs = {
            q: counting(shard.q * perRow * spec.qHeads),
            k: counting(shard.kv * perRow * spec.kvHeads),
            v: counting(shard.kv * perRow * spec.kvHeads),
          };
          deliver(forwardSends(exchange, inputs), owner, (rank) => ranks[rank]?.receives ?? []);
          return { exchange, inputs, shard };
        });
        // A device that returns its q rows as out.
        for (const { memory } of ranks) memory.out.bytes.set(memory.q.bytes);
        owners.forEach(({ exchange, inputs, shard }, owner) => {
          const out = Region.allocate(inputs.q.sizeBytes);
          const lse = Region.allocate(shard.q * spec.batch * spec.qHeads * 4);
          const returns = forwardReturns(exchange, { out, lse });
          ranks.forEach(({ exchange: unit, memory, receives }, rank) => {
            const places = segmentsOf(receives, owner, 'q');
            expect(places).toHaveLength(segmentsOf(returns, rank, 'out').length);
            segmentsOf(returns, rank, 'out').forEach((target, number) => {
              const source = places[number];
              if (source !== undefined) copySegment({ ...source, region: memory.out }, target);
            });
            expect(unit.byOwner[owner]).toEqual(exchange.byRank[rank]);
          });
          expect(out.float32()).toEqual(exchangedOnly(exchange, 'q', inputs.q, spec.qHeads));
        });
      }),
      { numRuns: 150 },
    );
  });

  it('backward: what is not kept arrives again, partial sums are folded once per rank that read the row, bytes are what both ends say', async () => {
    await fc.assert(
      fc.asyncProperty(steps, retentions, async (step, carried) => {
        const plan = planOf(step);
        const { spec } = plan;
        const ranks = Array.from({ length: plan.cpSize }, (_, rank) => {
          const exchange = unitExchange(plan, rank);
          const forward = allocateForward(exchange.places);
          const memory = allocateBackward(exchange.places);
          const receives = backwardReceives(exchange, forward, memory, carried);
          return { exchange, forward, receives };
        });
        let returned = 0;
        for (const [owner, rows] of step.shards.entries()) {
          const exchange = ownerExchange(plan, owner, { q: rows, kv: rows });
          const dout = counting(rows * spec.batch * spec.qHeads * spec.headSize);
          const inputs = {
            q: counting(dout.sizeBytes / 4),
            k: counting(rows * spec.batch * spec.kvHeads * spec.headSize),
            v: counting(rows * spec.batch * spec.kvHeads * spec.headSize),
          };
          const sends = backwardSends(exchange, { ...inputs, dout }, carried);
          const sent = deliver(sends, owner, (rank) => ranks[rank]?.receives ?? []);
          const pairs = exchange.byRank.map((pair) =>
            pairTotals(pairBytes(plan.spec, pair, 'backward', carried)),
          );
          expect(sent).toBe(pairs.reduce((sum, pair) => sum + pair.toRank, 0));
          expect(ownerBytes(exchange, 'backward', carried).sent).toBe(sent);
          returned += pairs.reduce((sum, pair) => sum + pair.toOwner, 0);

          const partials = exchange.byRank.map(({ kv }) => {
            const bytes = (segmentOffsets(kv).at(-1) ?? 0) * spec.headSize * 4;
            const partial = { dk: Region.allocate(bytes), dv: Region.allocate(bytes) };
            partial.dk.float32().fill(1);
            partial.dv.float32().fill(2);
            return partial;
          });
          backwardReturns(exchange, { dq: Region.allocate(dout.sizeBytes), partials });
          const size = rows * spec.batch * spec.kvHeads * spec.headSize * 4;
          const results = { dk: Region.allocate(size), dv: Region.allocate(size) };
          await foldGradients(exchange, partials, results);
          const readers = new Float32Array(size / 4);
          for (const { kv } of exchange.byRank) {
            for (const { batch, head, begin, end } of kv) {
              for (let row = begin; row < end; row++) {
                const { strides, begin: first } = exchange.kv;
                const at = (row - first) * strides.row + batch * strides.batch + head * strides.head;
                for (let i = 0; i < spec.headSize; i++) readers[at + i] = (readers[at + i] ?? 0) + 1;
              }
            }
          }
          expect(results.dk.float32()).toEqual(readers);
          expect(results.dv.float32()).toEqual(readers.map((count) => 2 * count));
        }
        // Every element is counted from 1, so a row of a carried input that never arrived is a zero.
        for (const { forward } of ranks) {
          for (const tensor of ['q', 'k', 'v'] as const) {
            const arrived = forward[tensor].float32().every((value) => value !== 0);
            const empty = forward[tensor].sizeBytes === 0;
            expect(arrived).toBe(carried.includes(tensor) || empty);
          }
        }
        const unitSends = ranks.map(({ exchange }) => unitOwnerSendBytes(exchange, 'backward'));
        expect(unitSends.reduce((sum, bytes) => sum + bytes, 0)).toBe(returned);
      }),
      { numRuns: 100 },
    );
  });
});
