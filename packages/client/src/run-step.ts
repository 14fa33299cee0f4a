import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { ownerParty, rankParty, relayOf, type Send, type StepChannel } from '@ulysses/exchange';
import type { Party, Receive, StepKey } from '@ulysses/native';
import type { ExchangePlan, Plan } from '@ulysses/plan';
import type { ExchangeView, Planned, RankAddress, StepView } from '@ulysses/rpc';
import { linkSignals } from '@ulysses/runtime';
import type { Cluster } from './cluster.js';
import { shuffled } from './shuffled.js';

/** One pass of one call, as this owner takes part in it. `P` is the plan of its operation. */
export interface StepCall<P extends Plan | ExchangePlan> {
  readonly step: StepKey;
  readonly view: StepView | ExchangeView;
  readonly forward: StepKey | null;
  readonly releaseForward: boolean;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** Checks the plan that came, before anything is done with it. */
  readonly verified: (plan: Plan | ExchangePlan) => P;
  /** What to send and where results go, once the plan is known. */
  readonly transfers: (plan: P, planned: Planned) => Transfers;
}

export interface Transfers {
  readonly sends: readonly Send[];
  readonly receives: readonly Receive[];
  /** Payload of all sends. */
  readonly sendBytes: number;
}

export interface StepOutcome<P extends Plan | ExchangePlan = Plan> {
  /** With the attempt that committed. */
  readonly key: StepKey;
  readonly planned: Planned;
  readonly plan: P;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** How long a broken tensor link waits for the coordinator to say which rank was lost first. */
const VERDICT_MS = 800;

/**
 * One attempt at a step: the coordinator agrees and plans, rows go out and come back, the coordinator commits.
 * The call to the coordinator lives as long as the step, so its end is the step's verdict: when a rank dies, the error
 * names that rank and not the link which noticed.
 */
export async function runStep<P extends Plan | ExchangePlan>(
  cluster: Cluster,
  call: StepCall<P>,
): Promise<StepOutcome<P>> {
  const ending = new AbortController();
  const linked = linkSignals([call.signal, ending.signal]);
  const { ownerIndex, ownerCount } = cluster.options;
  const stream = cluster.coordinator.planStep(
    {
      step: call.step,
      ownerIndex,
      ownerCount,
      view: call.view,
      forward: call.forward,
      releaseForward: call.releaseForward,
    },
    { signal: linked.signal, deadlineMs: call.deadlineMs },
  );
  try {
    const first = await stream.next();
    if (first.done === true || first.value.kind !== 'planned') {
      throw new UlyssesError('INVARIANT', 'the coordinator ended the step before it was planned');
    }
    const planned = first.value;
    cluster.contacted = true;
    const plan = call.verified(planned.plan);
    warnOfAlignment(cluster, planned);
    const key = { ...call.step, attempt: planned.attempt };
    const committed = nextIsCommit(stream);
    const moved = await moveRows(cluster, call, key, planned, plan, committed);
    return { key, planned, plan, ...moved };
  } finally {
    ending.abort(new UlyssesError('CANCELLED', 'the step ended'));
    linked.release();
    await stream.return(undefined).catch(() => undefined);
  }
}

function warnOfAlignment(cluster: Cluster, { alignedByPolicy, kvCachePolicy }: Planned): void {
  if (!alignedByPolicy) return;
  cluster.warnOnce(
    'aligned-by-policy',
    `KV-cache policy ${kvCachePolicy} makes the exchange aligned: shards have to be equal and heads divide by cp_size; ` +
      'kvCachePolicyUnaligned (--kv-cache-policy-unaligned) leaves it unaligned',
  );
}

async function moveRows<P extends Plan | ExchangePlan>(
  cluster: Cluster,
  call: StepCall<P>,
  key: StepKey,
  planned: Planned,
  plan: P,
  committed: Promise<void>,
): Promise<{ bytesSent: number; bytesReceived: number }> {
  const { ownerIndex, ownerCount, sliceOrderSeed } = cluster.options;
  const relay = planned.ranks[relayOf(ownerIndex, planned.ranks.length)];
  if (relay === undefined) throw new UlyssesError('PLAN_INVALID', 'the plan has no ranks');
  let channel: StepChannel | null = null;
  let stopListening = (): void => undefined;
  try {
    // An owner without rows may see the commit before its link is up.
    const linked = cluster.link(relay, call.deadlineMs);
    const link = await Promise.race([linked, committed.then(() => linked)]);
    const { sends, receives, sendBytes } = call.transfers(plan, planned);
    const opened = cluster.plane.openStep({
      key,
      epoch: planned.epoch,
      self: ownerParty(ownerIndex),
      receives,
      routes: destinations(planned.ranks, ownerCount).map((destination) => ({ destination, link })),
      relayBytes: 0,
      sendBytes,
    });
    channel = opened;
    stopListening = cluster.onLinkLost((lost, reason) => {
      if (lost !== link) return;
      opened.fail(
        new UlyssesError('PEER_LOST', `rank ${relay.rank} (member ${relay.member}) was lost: ${reason}`, {
          peer: `rank ${relay.rank}`,
          member: relay.member,
        }),
      );
    });
    for (const send of sliceOrderSeed === null ? sends : shuffled(sends, sliceOrderSeed + key.call)) {
      opened.send(send.destination, send.tensor, send.number, send.place);
    }
    await Promise.race([Promise.all([opened.received, opened.sent, committed]), opened.failed]);
    return opened.close();
  } catch (thrown) {
    throw await firstCause(toUlyssesError(thrown), committed);
  } finally {
    stopListening();
    channel?.close();
  }
}

/** Whom the relay passes rows on to: ranks, and in an exchange alone the other owners. */
function destinations(ranks: readonly RankAddress[], ownerCount: number): Party[] {
  const owners = Array.from({ length: ownerCount }, (_, owner) => ownerParty(owner));
  return [...ranks.map(({ rank }) => rankParty(rank)), ...owners];
}

/** The coordinator's verdict if it comes soon, else what this owner saw itself. */
async function firstCause(seen: UlyssesError, committed: Promise<void>): Promise<UlyssesError> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<UlyssesError>((resolve) => {
    timer = setTimeout(() => {
      resolve(seen);
    }, VERDICT_MS);
  });
  try {
    return await Promise.race([committed.then(() => seen, toUlyssesError), patience]);
  } finally {
    clearTimeout(timer);
  }
}

async function nextIsCommit(stream: AsyncIterator<{ readonly kind: string }>): Promise<void> {
  const next = await stream.next();
  if (next.done === true || next.value.kind !== 'committed') {
    throw new UlyssesError('INVARIANT', 'the coordinator ended the step before it was committed');
  }
}
