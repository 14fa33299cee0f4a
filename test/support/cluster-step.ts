import { randomUUID } from 'node:crypto';
import {
  connect,
  UlyssesContextAttention,
  type AttentionOptions,
  type CallOptions,
  type ConnectOptions,
  type StepReport,
  type TensorView,
} from '@ulysses/client';
import type { PlaneCounters } from '@ulysses/native';
import { shardOf, type StepInputs } from './step-inputs.js';
import { fromForm, toForm, type TensorForm } from './tensor-forms.js';

/** Results of one forward and backward for the whole sequence, put together from all owners' shares. */
export interface WholeResult {
  /** [s, b, h, d] */
  readonly out: Float32Array;
  /** [b, h, s] */
  readonly lse: Float32Array;
  readonly dq: Float32Array;
  /** [s, b, h_kv, d] */
  readonly dk: Float32Array;
  readonly dv: Float32Array;
}

export interface ClusterStep {
  readonly address: string;
  /** Rows of every sequence owner. */
  readonly splits: readonly number[];
  readonly attention: AttentionOptions;
  /** What every owner's forward adds. */
  readonly call?: CallOptions;
  /** Of every owner's connection. */
  readonly connection?: Pick<ConnectOptions, 'onWarning' | 'route' | 'sharedBytes' | 'transport' | 'tls'>;
  /** Rows of every owner's k and v, when they are not those of q. */
  readonly kvSplits?: readonly number[];
  /** How tensors travel. @default float32 [s, b, h, d] */
  readonly form?: TensorForm;
  /** Hears of every owner whose backward is done. */
  readonly onDone?: (done: OwnerDone) => void;
}

export interface OwnerDone {
  /** Of its connection, still open. */
  readonly counters: PlaneCounters;
  readonly forward: StepReport;
  readonly backward: StepReport;
}

const PLAIN: TensorForm = { dtype: 'f32', layout: 'sbhd' };

/** One connection for every owner, each calling with its own shard, as M trainer processes do. */
export async function runStep(step: ClusterStep, inputs: StepInputs): Promise<WholeResult> {
  const session = randomUUID();
  const { batch, heads } = inputs.q.extents;
  const kvSplits = step.kvSplits ?? step.splits;
  const begins = beginsOf(step.splits);
  const kvBegins = beginsOf(kvSplits);
  const shares = await Promise.all(
    step.splits.map((rows, ownerIndex) => {
      const begin = begins[ownerIndex]!;
      const kvBegin = kvBegins[ownerIndex]!;
      const form = step.form ?? PLAIN;
      const qLike = (tensor: TensorView): TensorView => toForm(shardOf(tensor, begin, begin + rows), form);
      const kvLike = (tensor: TensorView): TensorView =>
        toForm(shardOf(tensor, kvBegin, kvBegin + kvSplits[ownerIndex]!), form);
      return ownerStep(step, session, ownerIndex, {
        q: qLike(inputs.q),
        k: kvLike(inputs.k),
        v: kvLike(inputs.v),
        dout: qLike(inputs.dout),
      });
    }),
  );
  return {
    out: joined(shares.map(({ out }) => out)),
    lse: joinedLse(
      shares.map(({ lse }) => lse),
      step.splits,
      batch * heads,
    ),
    dq: joined(shares.map(({ dq }) => dq)),
    dk: joined(shares.map(({ dk }) => dk)),
    dv: joined(shares.map(({ dv }) => dv)),
  };
}

async function ownerStep(
  { address, splits, attention, call, connection, onDone }: ClusterStep,
  session: string,
  ownerIndex: number,
  { q, k, v, dout }: StepInputs,
): Promise<WholeResult> {
  const cluster = await connect({
    address,
    session,
    ownerIndex,
    ownerCount: splits.length,
    ...connection,
  });
  try {
    const forward = await new UlyssesContextAttention(null, cluster, attention).forward(q, k, v, call);
    const { dq, dk, dv, report } = await forward.backward(dout);
    onDone?.({ counters: cluster.plane.counters, forward: forward.report, backward: report });
    return {
      out: float32(forward.out),
      lse: forward.lse.slice(),
      dq: float32(dq),
      dk: float32(dk),
      dv: float32(dv),
    };
  } finally {
    await cluster.close();
  }
}

function beginsOf(splits: readonly number[]): number[] {
  return splits.map((_, owner) => splits.slice(0, owner).reduce((a, b) => a + b, 0));
}

function float32(view: TensorView): Float32Array {
  return Float32Array.from(fromForm(view).data);
}

/** Shares of a tensor whose rows come first. */
function joined(shares: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(shares.reduce((sum, share) => sum + share.length, 0));
  let at = 0;
  for (const share of shares) {
    whole.set(share, at);
    at += share.length;
  }
  return whole;
}

/** [b, h, s_local] of every owner -> [b, h, s]. */
function joinedLse(shares: readonly Float32Array[], splits: readonly number[], heads: number): Float32Array {
  const parts: Float32Array[] = [];
  for (let head = 0; head < heads; head++) {
    shares.forEach((share, owner) => {
      const rows = splits[owner]!;
      parts.push(share.subarray(head * rows, (head + 1) * rows));
    });
  }
  return joined(parts);
}
