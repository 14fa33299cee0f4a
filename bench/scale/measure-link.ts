import { once } from 'node:events';
import { connect } from 'node:net';
import { SHAPE, withLimitedCluster } from '../limited-cluster.js';
import { median, repeated } from '../windows.js';
import type { Workload } from './workload.js';

/** Bytes per second each way. By the lowest a step is mostly transfer, by the highest mostly arithmetic. */
export const LINK_RATES = [50e6, 100e6, 200e6] as const;
export const LINK_STEP: Workload = {
  rows: SHAPE.rows,
  qHeads: SHAPE.heads,
  kvHeads: SHAPE.heads,
  headSize: SHAPE.headSize,
  dtype: SHAPE.dtype,
};
const WINDOWS = 5;
const CONNECTIONS = 21;

/** Steps of a trainer at the other end of a link. */
export interface MeasuredLink {
  readonly latencySeconds: number;
  readonly steps: readonly { readonly bytesPerSecond: number; readonly stepMs: readonly number[] }[];
}

/** The cluster and the trainer of the overlap bench, with the link at each of the rates. */
export async function measureLink(): Promise<MeasuredLink> {
  return await withLimitedCluster(async (owners, link, { address }) => {
    const latencySeconds = await measureLatency(address);
    const shards = owners.shards(SHAPE);
    const steps: { bytesPerSecond: number; stepMs: number[] }[] = [];
    for (const bytesPerSecond of LINK_RATES) {
      link.limit(bytesPerSecond);
      steps.push({ bytesPerSecond, stepMs: await repeated(WINDOWS, () => owners.step(shards)) });
    }
    return { latencySeconds, steps };
  });
}

/** One way, in seconds: a connection is made when one packet has gone and another has come back. */
async function measureLatency(address: string): Promise<number> {
  const [, host, port] = /^(.*):(\d+)$/.exec(address)!;
  const seconds = await repeated(CONNECTIONS, async () => {
    const began = performance.now();
    const socket = connect(Number(port), host);
    await once(socket, 'connect');
    const ms = performance.now() - began;
    socket.destroy();
    return ms / 2 / 1000;
  });
  return median(seconds);
}
