import { BenchCluster } from './cluster.js';
import { LimitedLink } from './limited-link.js';
import { emptyShape, Owners, type StepShape } from './owners.js';

/** What crosses the link: heads enough that a rank has several. */
export const SHAPE: StepShape = { rows: 8190, heads: 16, headSize: 64, dtype: 'f32' };
export const RANKS = 4;
/** One trainer, at the other end. */
export const OWNERS = 1;
/** The most that the link carries in each direction. */
export const MOST_BYTES_PER_SECOND = 200e6;

/** A trainer of this process and a cluster in a network namespace, joined by a link whose rate can be changed. */
export async function withLimitedCluster<T>(
  act: (owners: Owners, link: LimitedLink, cluster: BenchCluster) => Promise<T>,
): Promise<T> {
  const link = new LimitedLink();
  try {
    const flags = ['--no-restart', '--listen', `${link.host}:0`, '--insecure'];
    const cluster = await BenchCluster.start(RANKS, flags, link.inside);
    try {
      const owners = await Owners.connect(cluster.address, OWNERS, 0);
      try {
        await owners.warmUp(owners.shards(emptyShape(RANKS)));
        return await act(owners, link, cluster);
      } finally {
        await owners.close();
      }
    } finally {
      await cluster.stop();
    }
  } finally {
    link.close();
  }
}
