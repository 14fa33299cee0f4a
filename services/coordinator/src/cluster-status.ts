import type { ClusterStore } from '@ulysses/rendezvous';
import { traceName, type ClusterStatus, type RankAddress, type RankStatus } from '@ulysses/rpc';
import type { Fleet } from './fleet.js';
import type { Leading } from './leading.js';

const RANK_STATUS_MS = 1_000;
const LEASES_MS = 1_000;

/**
 * The cluster as `ulysses status` shows it, and the trace of a step if one is `wanted`; what cannot be asked within a second is
 * left out.
 */
export async function clusterStatus(
  { fleet, steps }: Leading,
  store: ClusterStore,
  wanted: string,
): Promise<ClusterStatus> {
  const trace = wanted === '' ? null : steps.traces.find(wanted);
  const name = trace === null ? '' : traceName(trace.step);
  const leases = await store.leaseAges({ deadlineMs: LEASES_MS }).catch(() => []);
  const ages = new Map(leases.map(({ member, ageMs }) => [member, Math.round(ageMs)]));
  const { epoch, cpSize, members } = store.membership;
  return {
    epoch,
    cpSize,
    complete: fleet.readyEpoch !== null,
    ranks: await Promise.all(
      members.map(async (rank) => ({
        ...(await rankStatus(fleet, rank, name)),
        rank,
        leaseAgeMs: ages.get(rank.member) ?? 0,
      })),
    ),
    stepsRunning: steps.running,
    stepsCommitted: steps.committed,
    stepsFailed: steps.failed,
    traces: trace === null ? [] : [trace],
  };
}

/** What the rank says of itself; a rank that does not answer is not ready. */
async function rankStatus(fleet: Fleet, rank: RankAddress, trace: string): Promise<RankStatus> {
  const silent = {
    rank,
    ready: false,
    stepsRunning: 0,
    storeBytes: 0,
    storeBudgetBytes: 0,
    handles: 0,
    isa: '',
    leaseAgeMs: 0,
    traces: [],
  };
  const client = fleet.clientOf(rank);
  if (client === null) return silent;
  return await client.getRankStatus({ trace }, { deadlineMs: RANK_STATUS_MS }).catch(() => silent);
}
