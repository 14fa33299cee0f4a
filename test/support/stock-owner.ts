import {
  pairSegments,
  rankTables,
  verifyPlan,
  type PairSegments,
  type Plan,
  type Segment,
} from '@ulysses/plan';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { StepInputs } from './step-inputs.js';
import {
  StockConnection,
  type PullCall,
  type PushCall,
  type StockAck,
  type StockKey,
  type StockParty,
  type StockPlanned,
  type StockSlice,
  type StockUpdate,
} from './stock-calls.js';

const DEADLINE_MS = 30_000;
/** Slices are cut to this, so that segments take several. */
const SLICE_BYTES = 3_000;
const JOB = 'stock';
type Route = 'relay' | 'direct';
type Input = 'q' | 'k' | 'v' | 'dout';

/** Which of the step's owners it is, and which rows of the whole sequence it holds. */
export interface StockShare {
  readonly index: number;
  readonly count: number;
  readonly begin: number;
  readonly shard: StepInputs;
}

interface Link {
  readonly connection: StockConnection;
  readonly push: PushCall;
  readonly pull: PullCall;
}

/** A segment to be sent. */
interface Packed extends Pick<StockSlice, 'destination' | 'tensor' | 'segment'> {
  readonly bytes: Buffer;
}

/** What rank `rank` sends back of one segment. */
interface Returned {
  readonly rank: number;
  readonly tensor: string;
  readonly segment: Segment;
  readonly values: Float32Array;
}

/**
 * A sequence owner of grpc-js and the proto alone: no client, no native core. It derives which rows go where from the plan, as
 * any other implementation would, and holds one causal float32 [s_local, b, h, d] shard.
 */
export class StockOwner {
  readonly #coordinator: StockConnection;
  readonly #session: string;
  readonly #owner: StockShare;
  readonly #route: Route;
  readonly #links = new Map<number, Link>();
  #forward: StockKey | null = null;

  constructor(address: string, session: string, owner: StockShare, route: Route) {
    this.#coordinator = new StockConnection(address);
    this.#session = session;
    this.#owner = owner;
    this.#route = route;
  }

  /** [out, lse] */
  async forward(): Promise<Float32Array[]> {
    const { returned } = await this.#pass('PASS_FORWARD', ['q', 'k', 'v'], ['TENSOR_OUT', 'TENSOR_LSE']);
    const { q } = this.#owner.shard;
    const out = new Float32Array(q.data.length);
    const lse = new Float32Array(q.data.length / q.extents.headSize);
    for (const { tensor, segment, values } of returned) {
      if (tensor === 'TENSOR_OUT') this.#placeRows(out, 'q', segment, values);
      else lse.set(values, this.#lseOffset(segment));
    }
    return [out, lse];
  }

  /** [dq, dk, dv]; partial sums are added in rank order. */
  async backward(): Promise<Float32Array[]> {
    const tensors = ['TENSOR_DQ', 'TENSOR_DK', 'TENSOR_DV'] as const;
    const { returned } = await this.#pass('PASS_BACKWARD', ['dout'], tensors);
    const [dq, dk, dv] = (['q', 'k', 'v'] as const).map(
      (input) => new Float32Array(this.#owner.shard[input].data.length),
    );
    for (const { tensor, segment, values } of returned.sort((a, b) => a.rank - b.rank)) {
      if (tensor === 'TENSOR_DQ') this.#placeRows(dq!, 'q', segment, values);
      else this.#placeRows(tensor === 'TENSOR_DK' ? dk! : dv!, 'k', segment, values, true);
    }
    return [dq!, dk!, dv!];
  }

  close(): void {
    for (const { connection, push, pull } of this.#links.values()) {
      push.end();
      pull.end();
      connection.close();
    }
    this.#coordinator.close();
  }

  async #pass(
    pass: StockKey['pass'],
    inputs: readonly Input[],
    results: readonly string[],
  ): Promise<{ returned: Returned[] }> {
    const asked = { job: JOB, session: this.#session, call: 0, pass, attempt: 0 };
    const call = this.#coordinator.planStep(this.#request(asked), DEADLINE_MS);
    const updates = call[Symbol.asyncIterator]() as AsyncIterator<StockUpdate>;
    const first = await updates.next();
    if (first.done === true || first.value.update !== 'planned') throw new Error('the step was not planned');
    const { planned } = first.value;
    const plan = this.#planOf(planned);
    const step = { ...asked, attempt: planned.attempt };
    const pairs = rankTables(plan).map((table) => pairSegments(plan, table, this.#owner.index));
    this.#connect(planned);
    const returned = expected(pairs, results, plan.spec.headSize);
    const placed = new Placed(returned, { epoch: planned.epoch, step, destination: this.#self });
    const owed = pairs.map((pair, rank) => this.#pack(pair, rank, inputs));
    const acknowledged = new Acknowledged(step, owed.map(bytesOf));
    const links = [...this.#links.values()];
    const ends = links.map(({ push, pull }) => [
      listen(push, ({ ack }: { ack: StockAck | null }) => {
        if (ack !== null) acknowledged.hear(ack);
      }),
      listen(pull, ({ slice }: { slice: StockSlice | null }) => {
        const ack = slice === null ? null : placed.place(slice);
        if (ack !== null) pull.write({ ack });
      }),
    ]);
    owed.forEach((segments, rank) => {
      this.#send(planned.epoch, step, rank, segments);
    });
    const second = await updates.next();
    if (second.done === true || second.value.update !== 'committed') throw new Error('it was not committed');
    acknowledged.expectAll();
    for (const end of ends.flat()) end();
    if (pass === 'PASS_FORWARD') this.#forward = step;
    return { returned };
  }

  get #self(): StockParty {
    return { role: 'ROLE_OWNER', index: this.#owner.index };
  }

  #request(step: StockKey): object {
    const { q, k } = this.#owner.shard;
    const { rows: qRows, batch, heads: qHeads, headSize } = q.extents;
    return {
      step,
      ownerIndex: this.#owner.index,
      ownerCount: this.#owner.count,
      forward: step.pass === 'PASS_BACKWARD' ? this.#forward : undefined,
      releaseForward: step.pass === 'PASS_BACKWARD',
      direct: this.#route === 'direct',
      view: {
        ...{ dtype: 'D_TYPE_F32', layout: 'LAYOUT_SBHD', batch, qHeads, headSize, qRows },
        ...{ kvHeads: k.extents.heads, kvRows: k.extents.rows, mask: { right: 0 } },
        ...{ scale: Math.fround(1 / Math.sqrt(headSize)), keep: 'KEEP_STORE' },
        gatherSizeCalculator: 'dynamic',
      },
    };
  }

  /** The spec that was asked for, with the coordinator's splits and cuts; its id proves that nothing else is different. */
  #planOf({ plan: { planId, cpSize, spec, cuts } }: StockPlanned): Plan {
    const { q, k } = this.#owner.shard;
    const { batch, heads: qHeads, headSize } = q.extents;
    const plan: Plan = {
      ...{ planId, cpSize, cuts },
      spec: {
        ...{ dtype: 'f32', layout: 'sbhd', batch, qHeads, kvHeads: k.extents.heads, headSize },
        ...{ qSplits: spec.qSplits, kvSplits: spec.kvSplits, scale: spec.scale, weights: null },
        mask: { left: null, right: 0, segments: null, validRanges: null },
        strategy: spec.strategy === 'STRATEGY_HEADS' ? 'heads' : 'balanced',
      },
    };
    verifyPlan(plan);
    return plan;
  }

  /** To the relay, or to every rank; once. */
  #connect({ ranks }: StockPlanned): void {
    const relay = this.#owner.index % ranks.length;
    const party = `owner/${this.#owner.index}/${JOB}/${this.#session}`;
    for (const { index, tensorAddress } of ranks) {
      if (this.#links.has(index) || (this.#route === 'relay' && index !== relay)) continue;
      const connection = new StockConnection(tensorAddress);
      const [push, pull] = [connection.push(party), connection.pull(party)];
      // The step's own call says why it failed.
      for (const call of [push, pull]) call.on('error', () => undefined);
      this.#links.set(index, { connection, push, pull });
    }
  }

  /** With route relay the only link. */
  #relay(): Link {
    const [link] = this.#links.values();
    if (link === undefined) throw new Error('there is no link');
    return link;
  }

  /** All that one rank gets, in segments. */
  #pack({ q, kv }: PairSegments, rank: number, inputs: readonly Input[]): Packed[] {
    return inputs.flatMap((input) =>
      (input === 'k' || input === 'v' ? kv : q).map((rows, segment) => ({
        destination: { role: 'ROLE_RANK', index: rank },
        tensor: `TENSOR_${input.toUpperCase()}`,
        segment,
        bytes: this.#packRows(input, rows),
      })),
    );
  }

  #send(epoch: number, step: StockKey, rank: number, segments: readonly Packed[]): void {
    const { push } = this.#links.get(rank) ?? this.#relay();
    for (const { bytes, ...head } of segments) {
      for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
        const payload = bytes.subarray(at, at + SLICE_BYTES);
        const place = { offsetBytes: at, segmentBytes: bytes.length };
        push.write({ slice: { epoch, step, source: this.#self, ...head, ...place, payload } });
      }
    }
  }

  /** Rows of a segment, one after the other, little-endian: [rows, d]. */
  #packRows(input: Input, { batch, head, begin, end }: Segment): Buffer {
    const { data, extents } = this.#owner.shard[input];
    const { headSize: d, heads } = extents;
    const packed = new Float32Array((end - begin) * d);
    for (let row = begin; row < end; row++) {
      const from = this.#rowOffset(row, batch, head, heads);
      packed.set(data.subarray(from, from + d), (row - begin) * d);
    }
    return Buffer.from(packed.buffer);
  }

  #placeRows(
    target: Float32Array,
    like: 'q' | 'k',
    { batch, head, begin, end }: Segment,
    values: Float32Array,
    adds = false,
  ): void {
    const { headSize: d, heads } = this.#owner.shard[like].extents;
    for (let row = begin; row < end; row++) {
      const to = this.#rowOffset(row, batch, head, heads);
      for (let i = 0; i < d; i++) {
        const value = values[(row - begin) * d + i]!;
        target[to + i] = adds ? target[to + i]! + value : value;
      }
    }
  }

  /** Of a whole-sequence row in the shard [s_local, b, h, d]. */
  #rowOffset(row: number, batch: number, head: number, heads: number): number {
    const { batch: samples, headSize } = this.#owner.shard.q.extents;
    return (((row - this.#owner.begin) * samples + batch) * heads + head) * headSize;
  }

  /** Of a segment's first row in [b, h, s_local]. */
  #lseOffset({ batch, head, begin }: Segment): number {
    const { rows, heads } = this.#owner.shard.q.extents;
    return (batch * heads + head) * rows + begin - this.#owner.begin;
  }
}

function expected(pairs: readonly PairSegments[], tensors: readonly string[], headSize: number): Returned[] {
  return pairs.flatMap(({ q, kv }, rank) =>
    tensors.flatMap((tensor) => {
      const segments = tensor === 'TENSOR_DK' || tensor === 'TENSOR_DV' ? kv : q;
      const width = tensor === 'TENSOR_LSE' ? 1 : headSize;
      return segments.map((segment) => {
        const values = new Float32Array((segment.end - segment.begin) * width);
        return { rank, tensor, segment, values };
      });
    }),
  );
}

function bytesOf(segments: readonly Packed[]): number {
  return segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

/** Returns how to listen no more. A call that breaks ends the step too, which says why. */
function listen<In, Out>(call: ClientDuplexStream<In, Out>, hear: (message: Out) => void): () => void {
  call.on('data', hear);
  return () => call.off('data', hear);
}

/** What ranks have acknowledged of a step. */
class Acknowledged {
  readonly #step: StockKey;
  readonly #owed: readonly number[];
  readonly #heard: number[];

  constructor(step: StockKey, owed: readonly number[]) {
    this.#step = step;
    this.#owed = owed;
    this.#heard = owed.map(() => 0);
  }

  hear({ step, destination, bytes, error }: StockAck): void {
    if (step.pass !== this.#step.pass) return;
    if ((error ?? null) !== null) throw new Error(`rank ${destination.index}: ${error?.message}`);
    this.#heard[destination.index] = bytes;
  }

  /** A committed step is acknowledged: by every rank, all of its bytes. */
  expectAll(): void {
    if (this.#owed.some((bytes, rank) => bytes !== this.#heard[rank]))
      throw new Error(`ranks acknowledged ${this.#heard.join(', ')} bytes of ${this.#owed.join(', ')}`);
  }
}

/** Places slices, and knows when all of a rank have come. */
class Placed {
  readonly #ack: Pick<StockAck, 'epoch' | 'step' | 'destination'>;
  readonly #places = new Map<string, Returned[]>();
  readonly #left = new Map<number, number>();
  readonly #total = new Map<number, number>();

  constructor(returned: readonly Returned[], ack: Pick<StockAck, 'epoch' | 'step' | 'destination'>) {
    this.#ack = ack;
    for (const place of returned) {
      const { rank, tensor, values } = place;
      const name = `${rank} ${tensor}`;
      this.#places.set(name, [...(this.#places.get(name) ?? []), place]);
      for (const bytes of [this.#left, this.#total]) {
        bytes.set(rank, (bytes.get(rank) ?? 0) + values.byteLength);
      }
    }
  }

  /** The acknowledgement that is due, when this was the last of a rank's bytes. */
  place({ step, source, tensor, segment, offsetBytes, segmentBytes, payload }: StockSlice): StockAck | null {
    if (step.pass !== this.#ack.step.pass) return null;
    const place = this.#places.get(`${source.index} ${tensor}`)?.[segment];
    if (place?.values.byteLength !== segmentBytes)
      throw new Error(`segment ${segment} of ${tensor} from rank ${source.index} has ${segmentBytes} bytes`);
    new Uint8Array(place.values.buffer).set(payload, offsetBytes);
    const left = this.#left.get(source.index)! - payload.length;
    this.#left.set(source.index, left);
    return left > 0 ? null : { ...this.#ack, source, bytes: this.#total.get(source.index)! };
  }
}
