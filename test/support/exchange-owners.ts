import { randomUUID } from 'node:crypto';
import { connect, type Cluster } from '@ulysses/client';

export interface Owners {
  /** In owner order. */
  readonly clusters: readonly Cluster[];
  readonly close: () => Promise<void>;
}

/** One connection for every owner of one trainer. */
export async function connectOwners(
  address: string,
  owners: number,
  options: { readonly onReplay?: (error: { readonly code: string }) => void } = {},
): Promise<Owners> {
  const session = randomUUID();
  const clusters = await Promise.all(
    Array.from({ length: owners }, (_, ownerIndex) =>
      connect({ address, session, ownerIndex, ownerCount: owners, ...options }),
    ),
  );
  return {
    clusters,
    close: async () => {
      await Promise.all(clusters.map((cluster) => cluster.close()));
    },
  };
}
