import type { RouteChoice, Transport } from '@ulysses/exchange';
import type { TlsFiles } from '@ulysses/client';
import { expect } from 'vitest';
import { startCluster } from '../support/cluster.js';
import { runStep, type OwnerDone, type WholeResult } from '../support/cluster-step.js';
import type { StepInputs } from '../support/step-inputs.js';

export const CP_SIZE = 3;
/** Four owners on three ranks. */
const SPLITS = [600, 0, 361, 840];
/** Read by ranks when they start, and by trainers when they connect. */
const SEED = 'ULYSSES_TEST_SLICE_ORDER_SEED';

/** What links are made of. */
export interface Links {
  /** `staged`: memory is shared, and rows that found no room in it are copied there to be sent. */
  readonly kind: 'pool' | 'staged' | 'unix' | 'tcp';
  readonly transport: Transport;
  readonly sharedBytes: number;
}

export interface LinkedRun {
  readonly links: Links;
  readonly route?: RouteChoice;
  /** Of the order in which ranks and trainers send slices; null: in plan order. */
  readonly seed?: number | null;
  readonly tls?: TlsFiles | null;
}

/** Two runs of 1801 rows on a cluster of their own, over links that must have been what they are called. */
export async function onLinks(
  inputs: StepInputs,
  { links, route = 'auto', seed = null, tls = null }: LinkedRun,
): Promise<readonly [WholeResult, WholeResult]> {
  const { transport, sharedBytes } = links;
  if (seed !== null) process.env[SEED] = String(seed);
  const cluster = await startCluster({
    cpSize: CP_SIZE,
    tls,
    env: { ULYSSES_TRANSPORT: transport, ULYSSES_SHARED_MEMORY: `${sharedBytes}B` },
  });
  const connection = { route, transport, sharedBytes, tls };
  const { address } = cluster;
  try {
    const run = async (): Promise<WholeResult> => {
      const done: OwnerDone[] = [];
      const onDone = (owner: OwnerDone): void => void done.push(owner);
      const attention = { causal: true };
      const result = await runStep({ address, splits: SPLITS, attention, connection, onDone }, inputs);
      expectLinks(links, done);
      return result;
    };
    const results = [await run(), await run()] as const;
    const shuffling = cluster.log.filter((line) => line.includes('slices leave shuffled'));
    expect(shuffling).toHaveLength(seed === null ? 0 : CP_SIZE);
    return results;
  } finally {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
    delete process.env[SEED];
    await cluster.stop();
  }
}

/** What the owners sent went as it was meant to: what falls back to another link gives the same bits, and would go unseen. */
function expectLinks({ kind }: Links, owners: readonly OwnerDone[]): void {
  const counters = owners.map(({ counters }) => counters);
  for (const { links, unixConnections, sharedConnections } of counters) {
    expect(links).toBeGreaterThan(0);
    expect(unixConnections).toBe(kind === 'tcp' ? 0 : links);
    expect(sharedConnections).toBe(kind === 'pool' || kind === 'staged' ? links : 0);
  }
  const sumOf = (name: 'sharedBytes' | 'stagedBytes'): number =>
    counters.reduce((sum, counter) => sum + counter[name], 0);
  const [shared, staged] = [sumOf('sharedBytes') > 0, sumOf('stagedBytes') > 0];
  expect({ shared, staged }).toEqual({
    shared: kind === 'pool' || kind === 'staged',
    staged: kind === 'staged',
  });
}
