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

  static async connect(
    address: string,
    count: number,
    maxReplays = Infinity,
    job = 'bench',
  ): Promise<Owners> {
    const session = randomUUID();
    return new Owners(
      await Promise.all(
        Array.from({ length: count }, (_, ownerIndex) =>
          // Whatever is dialled was started by this bench.
          connect({ address, insecure: true, session, ownerIndex, ownerCount: count, job, maxReplays }),
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

  /** One causal forward that keeps nothing, unless options say otherwise, and whose results are of no use; the report of owner 0. */
  async forward(shards: readonly Shard[], options: AttentionOptions = {}): Promise<StepReport> {
    const results = await this.#each(async (cluster, owner) => {
      const { q, k, v } = shards[owner]!;
      return await attention(cluster, { keep: 'none', ...options }).forward(q, k, v);
    });
    for (const result of results) result.freeResults();
    return results[0]!.report;
  }

  /**
   * Milliseconds of one pass, all owners together, beginning when `ready` was called. `diagonal`: rows see their own key only, so
   * that the same rows travel and there is next to nothing to compute.
   */
  async pass(
    shards: readonly Shard[],
    pass: 'forward' | 'backward',
    mask: 'causal' | 'diagonal',
    ready: () => void,
  ): Promise<number> {
    const options: AttentionOptions = mask === 'causal' ? {} : { mask: { left: 0 } };
    const keep = pass === 'forward' ? 'none' : 'store';
    const forward = () =>
      this.#each((cluster, owner) => {
        const { q, k, v } = shards[owner]!;
        return attention(cluster, { ...options, keep }).forward(q, k, v);
      });
    if (pass === 'forward') {
      ready();
      const began = performance.now();
      await forward();
      return performance.now() - began;
    }
    const forwards = await forward();
    ready();
    const began = performance.now();
    await Promise.all(forwards.map((step, owner) => step.backward(shards[owner]!.dout)));
    return performance.now() - began;
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
