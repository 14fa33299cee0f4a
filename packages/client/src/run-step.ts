import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import { ownerParty, rankLinkName, rankParty, type StepChannel } from '@ulysses/exchange';
import type { Receive, Route, RowsToSend, StepKey } from '@ulysses/native';
import type { ExchangePlan, Plan } from '@ulysses/plan';
import { isExchangeView, type ExchangeView, type Planned, type StepView } from '@ulysses/rpc';
import { Deferred, linkSignals } from '@ulysses/runtime';
import type { Cluster } from './cluster.js';
import { committedAfterAll } from './committed-after-all.js';

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
  readonly sends: readonly RowsToSend[];
  readonly receives: readonly Receive[];
  /** Payload of all sends. */
  readonly sendBytes: number;
}

export interface StepOutcome<P extends Plan | ExchangePlan = Plan> {
  /** With the attempt that committed. */
  readonly key: StepKey;
  readonly planned: Planned;
  /** From the call to the plan: every owner and every rank said yes. */
  readonly agreedMs: number;
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
  // An exchange alone goes from owner to owner, who cannot dial each other.
  const direct = cluster.links.direct && !isExchangeView(call.view);
  const calledAt = performance.now();
  const deadlineAt = performance.now() + call.deadlineMs;
  const stream = cluster.coordinator.planStep(
    {
      step: call.step,
      ownerIndex,
      ownerCount,
      view: call.view,
      forward: call.forward,
      releaseForward: call.releaseForward,
      direct,
    },
    { signal: linked.signal, deadlineMs: call.deadlineMs },
  );
  let outcome: StepOutcome<P> | null = null;
  try {
    const first = await stream.next();
    if (first.done === true || first.value.kind !== 'planned') {
      throw new UlyssesError('INVARIANT', 'the coordinator ended the step before it was planned');
    }
    const planned = first.value;
    const agreedMs = performance.now() - calledAt;
    cluster.contacted = true;
    const plan = call.verified(planned.plan);
    warnOfAlignment(cluster, planned);
    const key = { ...call.step, attempt: planned.attempt };
    const committed = nextIsCommit(stream).catch((thrown: unknown) =>
      committedAfterAll(cluster, key, toUlyssesError(thrown), { deadlineAt, signal: linked.signal }),
    );
    const moved = await moveRows(cluster, call, key, planned, direct, plan, committed);
    outcome = { key, planned, agreedMs, plan, ...moved };
    return outcome;
  } finally {
    if (outcome === null) {
      ending.abort(new UlyssesError('CANCELLED', 'the step ended'));
      linked.release();
      await stream.return(undefined).catch(() => undefined);
    } else {
      void hearTheEnd(stream).finally(linked.release);
    }
  }
}

/**
 * A committed call is ended by the coordinator, which nobody waits for, and not cancelled: Node ends a connection on which clients
 * have reset 1000 calls more than 33 per second, as an attack.
 */
async function hearTheEnd(stream: AsyncIterator<unknown>): Promise<void> {
  await stream.next().catch(() => undefined);
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
  direct: boolean,
  plan: P,
  committed: Promise<void>,
): Promise<{ bytesSent: number; bytesReceived: number }> {
  const { ownerIndex, ownerCount } = cluster.options;
  let channel: StepChannel | null = null;
  const broken = new Deferred<never>();
  let stopListening = (): void => undefined;
  try {
    // An owner without rows may see the commit before its links are up.
    const linked = cluster.links.open(planned.ranks, direct, call.deadlineMs);
    const links = await Promise.race([linked, committed.then(() => linked)]);
    const { sends, receives, sendBytes } = call.transfers(plan, planned);
    const opened = cluster.plane.openStep({
      key,
      epoch: planned.epoch,
      self: ownerParty(ownerIndex),
      receives,
      routes: routesOver(links, direct ? 0 : ownerCount),
      relayBytes: 0,
      sendBytes,
    });
    channel = opened;
    stopListening = cluster.onLinkLost((lost, reason) => {
      const rank = planned.ranks.find(({ rank, member }) => rankLinkName(rank, member) === lost);
      if (rank === undefined || !links.includes(lost)) return;
      broken.reject(
        new UlyssesError('PEER_LOST', `rank ${rank.rank} (member ${rank.member}) was lost: ${reason}`, {
          field: 'rank',
          value: rank.rank,
          expected: 'a rank that serves until the step has ended',
          peer: `rank ${rank.rank}`,
          member: rank.member,
        }),
      );
    });
    opened.send(sends);
    const rows = Promise.all([opened.received, opened.sent]);
    await Promise.race([rows, opened.failed, broken.promise, committed.then(() => opened.received)]);
    // Every row of this owner is where it belongs: its links may break now.
    await committed;
  } catch (thrown) {
    // Of a committed step every rank and every owner has its rows: what broke did so too late to matter, and acks may be gone.
    const settled = committed.then(() => channel?.received);
    const cause = await firstCause(toUlyssesError(thrown), settled);
    if (cause !== null) throw cause;
  } finally {
    stopListening();
    channel?.close();
  }
  return channel?.close() ?? { bytesSent: 0, bytesReceived: 0 };
}

/** The way to every rank; and, for rows that a relay passes on, to the other owners (an exchange alone goes to these). */
function routesOver(links: readonly string[], relayedOwners: number): Route[] {
  const [relay = ''] = links;
  const owners = Array.from({ length: relayedOwners }, (_, owner) => ownerParty(owner));
  return [
    ...links.map((link, rank) => ({ destination: rankParty(rank), link })),
    ...owners.map((destination) => ({ destination, link: relay })),
  ];
}

/** The coordinator's verdict if it comes soon, null for a commit; else what this owner saw itself. */
async function firstCause(seen: UlyssesError, settled: Promise<void>): Promise<UlyssesError | null> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<UlyssesError>((resolve) => {
    timer = setTimeout(() => {
      resolve(seen);
    }, VERDICT_MS);
  });
  try {
    return await Promise.race([settled.then(() => null, toUlyssesError), patience]);
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
