import { cpuDevice } from '@ulysses/device';
import { ExchangePlane } from '@ulysses/exchange';
import { detectIsa, type Isa } from '@ulysses/native';
import { LeaseKeeper, RemoteStore } from '@ulysses/rendezvous';
import { rankService, serve } from '@ulysses/rpc';
import type { Logger } from '@ulysses/runtime';
import { CoordinatorStream } from './coordinator-stream.js';
import { ForwardStore } from './forward-store.js';
import { RankSteps } from './rank-steps.js';

export interface RankOptions {
  readonly member: string;
  /** Coordinator that keeps the embedded rendezvous. */
  readonly rendezvous: string;
  readonly listen: string;
  readonly tensorListen: string;
  readonly threads: number;
  readonly isa: Isa | null;
  readonly storeBytes: number;
  readonly storeTtlMs: number;
  readonly logger: Logger;
}

export interface Rank {
  readonly rank: number;
  readonly controlAddress: string;
  readonly tensorAddress: string;
  close(graceMs: number): Promise<void>;
}
