import type { DType } from '@ulysses/tensor';
import type { Region } from './region.js';

/** Where the rows of one (batch, head) lie in native memory. `rowStride` is in elements of the tensor's dtype. */
export interface Rows {
  readonly region: Region;
  readonly offsetBytes: number;
  readonly rowStride: number;
}

/**
 * One unit of attention: `rows` query rows against `kvRows` key rows.
 * Shapes: q, out [rows, d]; k, v [kvRows, d]; lse [rows] float32 (rowStride counts floats).
 * `bounds` is [rows, 2] int32: row i sees keys [bounds[2i], bounds[2i+1]) of this unit's k. An empty interval gives
 * out = 0 and lse = -Infinity.
 */
export interface ForwardUnit {
  readonly rows: number;
  readonly kvRows: number;
  readonly bounds: Int32Array;
  readonly q: Rows;
  readonly k: Rows;
  readonly v: Rows;
  readonly out: Rows;
  readonly lse: Rows;
}

/**
 * Backward of one unit. dq [rows, d] in the job's dtype is overwritten. dk, dv [kvRows, d] are float32 and are
 * *added to*, units in the given order, so sums do not depend on timing. `out`, `lse` come from the forward.
 */
export interface BackwardUnit extends ForwardUnit {
  readonly dout: Rows;
  readonly dq: Rows;
  readonly dk: Rows;
  readonly dv: Rows;
}

/** Settings shared by all units of one call. */
export interface AttentionJob {
  readonly dtype: DType;
  /** d, 1 to 256. */
  readonly headSize: number;
  /** Softmax scale. */
  readonly scale: number;
  /** Threads that this call may use. */
  readonly threads: number;
}

export const ISAS = ['amx', 'avx512-bf16', 'avx512', 'avx2', 'portable'] as const;
export type Isa = (typeof ISAS)[number];

/** A float32 matrix in native memory; element (i, j) is at offset + i * rowStride + j, or swapped when transposed. */
export interface Matrix {
  readonly region: Region;
  readonly offsetBytes: number;
  readonly rowStride: number;
  readonly transposed: boolean;
}

export type Role = 'rank' | 'owner';
export interface Party {
  readonly role: Role;
  readonly index: number;
}

export type Pass = 'forward' | 'backward';
export interface StepKey {
  readonly job: string;
  readonly session: string;
  readonly call: number;
  readonly pass: Pass;
  readonly attempt: number;
}

/**
 * What links between processes of one host and user are made of: `auto` is memory that both read in place, beside unix
 * sockets. Others are always TCP.
 */
export const TRANSPORTS = ['auto', 'unix', 'tcp'] as const;
export type Transport = (typeof TRANSPORTS)[number];

export const TENSORS = ['q', 'k', 'v', 'out', 'lse', 'dout', 'dq', 'dk', 'dv', 'exchanged'] as const;
export type TensorName = (typeof TENSORS)[number];

/**
 * Where one segment (rows of one head) lies in native memory. Its number on the wire is its place in the list.
 * `granule` (receives only) groups rows whose completion is reported as one event: all of the segment's, or with `granuleEnds`
 * those up to the first of these rows, and from each of them on those of the granule with the next number.
 */
export interface SegmentPlace {
  readonly region: Region;
  readonly offsetBytes: number;
  readonly rows: number;
  readonly rowBytes: number;
  readonly rowStrideBytes: number;
  readonly granule: number;
  readonly granuleEnds?: readonly number[];
}

/** Some rows of one segment on their way: `number` is its place in the list, `place` the whole of it. */
export interface RowsToSend {
  readonly destination: Party;
  readonly tensor: TensorName;
  readonly number: number;
  readonly place: SegmentPlace;
  readonly rows: { readonly begin: number; readonly end: number };
}

export interface Receive {
  readonly source: Party;
  readonly tensor: TensorName;
  readonly segments: readonly SegmentPlace[];
}

/** Through which link a party is reached in one step. Links are what `connect` and `accept` events name. */
export interface Route {
  readonly destination: Party;
  readonly link: string;
}

/** Registers one step's reserved memory and routes. Payload for a step that is not registered is refused. */
export interface StepRegistration {
  readonly key: StepKey;
  readonly epoch: number;
  readonly self: Party;
  readonly receives: readonly Receive[];
  readonly routes: readonly Route[];
  /**
   * Bytes to be forwarded for other parties (relay), and so the most that are held at a time; 0 for none. `relayed` fires
   * when all of them are acknowledged.
   */
  readonly relayBytes: number;
  /** Total bytes that will be sent, over all destinations; `sent` fires when all are acknowledged. */
  readonly sendBytes: number;
}

/** What the plane reports; always asynchronous, never from inside a call. */
export type PlaneEvent =
  /** All rows of a granule are placed. */
  | { readonly kind: 'granule'; readonly key: StepKey; readonly granule: number }
  /** Every segment of every receive is placed (fires at once when there are none). */
  | { readonly kind: 'received'; readonly key: StepKey }
  /** Everything sent is acknowledged by its final destination (fires at once when sendBytes is 0). */
  | { readonly kind: 'sent'; readonly key: StepKey }
  /** All relayBytes that were forwarded for others are acknowledged by their final destinations; not when it is 0. */
  | { readonly kind: 'relayed'; readonly key: StepKey }
  /** The step cannot complete; nothing more is reported for it until `close`. */
  | {
      readonly kind: 'failed';
      readonly key: StepKey;
      readonly code: string;
      readonly message: string;
      readonly peer: string;
    }
  /** A link broke or ended. */
  | { readonly kind: 'link-lost'; readonly link: string; readonly reason: string };
