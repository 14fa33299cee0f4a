import { createRequire } from 'node:module';
import { UlyssesError } from '@ulysses/errors';
import type { ConnectionOptions, TlsFiles } from '@ulysses/runtime';
import type {
  AttentionJob,
  BackwardUnit,
  ForwardUnit,
  Isa,
  Matrix,
  Party,
  PlaneEvent,
  Rows,
  RowsToSend,
  SegmentPlace,
  StepKey,
  StepRegistration,
  TensorName,
  Transport,
} from './types.js';

// The addon as crates/addon declares it: same names, same order. An absent value is null, never a missing key.
// A `Region` of src/region.ts stands for its `handle` wherever memory is named.

export interface NativeMemory {
  allocate(sizeBytes: number): NativeRegion;
  allocateShared(sizeBytes: number): NativeRegion;
  copyOf(bytes: Uint8Array): NativeRegion;
  usage(): MemoryUsage;
}

export interface MemoryUsage {
  /** In regions that are alive. */
  readonly allocatedBytes: number;
  /** Of these, where peers of this host read them in place. */
  readonly sharedBytes: number;
  /** Freed and kept for reuse. */
  readonly retainedBytes: number;
}

export interface NativeRegion {
  view(): ArrayBuffer;
  detach(view: ArrayBuffer): void;
  free(): void;
}

export interface NativeDevice {
  detectIsa(): Isa;
  usualIsa(): Isa;
  attentionForward(
    job: AttentionJob,
    units: readonly ForwardUnit[],
    isa: Isa | null,
    cancellation: NativeCancellation | null,
  ): Promise<void>;
  attentionBackward(
    job: AttentionJob,
    units: readonly BackwardUnit[],
    isa: Isa | null,
    cancellation: NativeCancellation | null,
  ): Promise<void>;
  matmul(job: MatmulJob, isa: Isa | null, cancellation: NativeCancellation | null): Promise<void>;
  foldPartials(job: FoldJob, cancellation: NativeCancellation | null): Promise<void>;
}

export interface NativeCancellation {
  cancel(): void;
}

/** C = A B, or C += A B when `accumulate`. A is [m, k], B [k, n], C [m, n]; C overlaps neither. */
export interface MatmulJob {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Matrix;
  readonly b: Matrix;
  readonly c: Matrix;
  readonly accumulate: boolean;
  /** Threads that this call may use. */
  readonly threads: number;
}

/** target [rows, headSize] in `dtype` = sum of partials [rows, headSize] float32; `target` overlaps none of them. */
export interface FoldJob {
  readonly target: Rows;
  readonly dtype: AttentionJob['dtype'];
  readonly rows: number;
  readonly headSize: number;
  readonly partials: readonly Rows[];
}

export interface NativePlane {
  address(): string | null;
  connectRank(link: string, address: string, party: string, deadlineMs: number): Promise<void>;
  connectOwner(link: string, address: string, party: string, deadlineMs: number): Promise<void>;
  disconnect(link: string): void;
  registerStep(registration: StepRegistration): void;
  send(
    key: StepKey,
    destination: Party,
    tensor: TensorName,
    firstSegment: number,
    segments: readonly SegmentPlace[],
  ): void;
  sendRows(key: StepKey, sends: readonly RowsToSend[]): void;
  sinceFirstRowMs(key: StepKey): number | null;
  closeStep(key: StepKey): StepBytes;
  counters(): PlaneCounters;
  arenaBytes(): number;
  close(): void;
}

/** Payload of one step that went through this plane. */
export interface StepBytes {
  /** Handed to connections, relayed bytes included. */
  readonly bytesSent: number;
  /** Placed here. */
  readonly bytesReceived: number;
}

/** Running sums of payload since the plane was opened, and what it holds now. */
export interface PlaneCounters {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly relayedBytes: number;
  /** Of what was sent, payload that peers of this host read in place. */
  readonly sharedBytes: number;
  /** Of that, payload copied first to where they read it: the rows lay in other memory. */
  readonly stagedBytes: number;
  /** Connections by unix socket, dialled and accepted. */
  readonly unixConnections: number;
  /** Of them, those whose ends share memory. */
  readonly sharedConnections: number;
  readonly steps: number;
  readonly links: number;
}

interface NativeConnections extends Required<ConnectionOptions> {
  readonly tls: Required<TlsFiles> | null;
  readonly slowPeerMs: number;
}

interface Addon {
  readonly Memory: new (retainBytes: number) => NativeMemory;
  readonly Device: new () => NativeDevice;
  readonly Cancellation: new () => NativeCancellation;
  readonly TensorPlane: {
    open(
      memory: NativeMemory,
      listen: string | null,
      transport: Transport,
      sharedBytes: number,
      connections: NativeConnections,
      description: string,
      listener: (event: PlaneEvent) => void,
    ): NativePlane;
  };
}

function load(): Addon {
  try {
    return createRequire(import.meta.url)('../ulysses.node') as Addon;
  } catch (thrown) {
    throw new UlyssesError(
      'CONFIG',
      'the native core cannot be loaded; build it with `npm run build`',
      {},
      thrown,
    );
  }
}

export const addon = load();
