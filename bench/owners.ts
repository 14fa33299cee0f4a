import { randomUUID } from 'node:crypto';
import {
  connect,
  UlyssesContextAttention,
  type AttentionOptions,
  type StepReport,
  type TensorView,
} from '@ulysses/client';
import { splitSizes } from '@ulysses/plan';

type Cluster = Awaited<ReturnType<typeof connect>>;

export interface StepShape {
  readonly rows: number;
  readonly heads: number;
  readonly headSize: number;
  readonly dtype: 'f32' | 'bf16';
}

interface Shard {
  readonly q: TensorView;
  readonly k: TensorView;
  readonly v: TensorView;
  readonly dout: TensorView;
}

/** The sequence owners of one trainer, each with its connection, in this process. */
export class Owners {
  readonly #clusters: readonly Cluster[];

  private constructor(clusters: readonly Cluster[]) {
    this.#clusters = clusters;
  }

  static async connect(address: string, count: number, maxReplays = Infinity): Promise<Owners> {
    const session = randomUUID();
    return new Owners(
      await Promise.all(
        Array.from({ length: count }, (_, ownerIndex) =>
          connect({ address, session, ownerIndex, ownerCount: count, job: 'bench', maxReplays }),
        ),
      ),
    );
  }

  /** What every owner holds of a step: the same values on each call. */
  shards({ rows, heads, headSize, dtype }: StepShape): Shard[] {
    return splitSizes(rows, this.#clusters.length).map((local) => {
      const extents = { layout: 'sbhd', rows: local, batch: 1, heads, headSize } as const;
      const tensor = (seed: number): TensorView => {
        const length = local * heads * headSize;
        const values = Float32Array.from({ length }, (_, i) => Math.sin(seed + i * 0.7));
        // The upper half of a float32 is its bf16.
        const data = dtype === 'f32' ? values : new Uint16Array(values.buffer).filter((_, i) => i % 2 === 1);
        return { data, dtype, extents };
      };
      return { q: tensor(1), k: tensor(2), v: tensor(3), dout: tensor(4) };
    });
  }

  /** Milliseconds of one causal forward and backward, all owners together. */
  async step(shards: readonly Shard[]): Promise<number> {
    const began = performance.now();
    await this.#each(async (cluster, owner) => {
      const { q, k, v, dout } = shards[owner]!;
      const forward = await attention(cluster, {}).forward(q, k, v);
      await forward.backward(dout);
    });
    return performance.now() - began;
  }

  /** One causal forward that keeps nothing; the report of owner 0. */
  async forward(shards: readonly Shard[]): Promise<StepReport> {
    const results = await this.#each(async (cluster, owner) => {
      const { q, k, v } = shards[owner]!;
      return await attention(cluster, { keep: 'none' }).forward(q, k, v);
    });
    return results[0]!.report;
  }

  /** Every owner's failure of one forward, and when it came. */
  async failures(shards: readonly Shard[]): Promise<{ error: unknown; at: number }[]> {
    return await Promise.all(
      this.#clusters.map(async (cluster, owner) => {
        const { q, k, v } = shards[owner]!;
        const error: unknown = await attention(cluster, { keep: 'none' })
          .forward(q, k, v)
          .then(
            () => null,
            (thrown: unknown) => thrown,
          );
        return { error, at: performance.now() };
      }),
    );
  }

  async close(): Promise<void> {
    await this.#each((cluster) => cluster.close());
  }

  async #each<T>(act: (cluster: Cluster, owner: number) => Promise<T>): Promise<T[]> {
    return await Promise.all(this.#clusters.map(act));
  }
}

function attention(cluster: Cluster, options: AttentionOptions): UlyssesContextAttention {
  return new UlyssesContextAttention(null, cluster, { causal: true, ...options });
}
