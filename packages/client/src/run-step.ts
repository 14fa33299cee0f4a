import { UlyssesError, toUlyssesError } from '@ulysses/errors';
import {
  ownerBytes,
  ownerExchange,
  ownerParty,
  rankParty,
  relayOf,
  type OwnerExchange,
  type Send,
  type StepChannel,
} from '@ulysses/exchange';
import type { Receive, StepKey } from '@ulysses/native';
import { carriedTensors, verifyPlan, type CarriedTensor, type Keep } from '@ulysses/plan';
import type { Planned, StepView } from '@ulysses/rpc';
import { linkSignals } from '@ulysses/runtime';
import type { Cluster } from './cluster.js';
import { committedAfterAll } from './committed-after-all.js';

/** One pass of one call, as this owner takes part in it. */
export interface StepCall {
  readonly step: StepKey;
  readonly view: StepView;
  readonly forward: StepKey | null;
  readonly releaseForward: boolean;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** What to send and where results go, once the plan is known, and which inputs a backward has to send again. */
  readonly transfers: (
    exchange: OwnerExchange,
    carried: readonly CarriedTensor[],
  ) => { readonly sends: Send[]; readonly receives: Receive[] };
}

export interface StepOutcome {
  /** With the attempt that committed. */
  readonly key: StepKey;
  readonly planned: Planned;
  readonly keep: Keep;
  readonly exchange: OwnerExchange;
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
export async function runStep(cluster: Cluster, call: StepCall): Promise<StepOutcome> {
  const ending = new AbortController();
  const linked = linkSignals([call.signal, ending.signal]);
  const { ownerIndex, ownerCount } = cluster.options;
  const deadlineAt = performance.now() + call.deadlineMs;
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
    verifyPlan(planned.plan);
    warnOfAlignment(cluster, planned);
    const key = { ...call.step, attempt: planned.attempt };
    const exchange = ownerExchange(planned.plan, ownerIndex, { q: call.view.qRows, kv: call.view.kvRows });
    const committed = nextIsCommit(stream).catch((thrown: unknown) =>
      committedAfterAll(cluster, key, toUlyssesError(thrown), { deadlineAt, signal: linked.signal }),
    );
    const moved = await moveRows(cluster, call, key, planned, exchange, committed);
    return { key, planned, keep: call.view.keep, exchange, ...moved };
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

async function moveRows(
  cluster: Cluster,
  call: StepCall,
  key: StepKey,
  planned: Planned,
  exchange: OwnerExchange,
  committed: Promise<void>,
): Promise<{ bytesSent: number; bytesReceived: number }> {
  const { ownerIndex } = cluster.options;
  const relay = planned.ranks[relayOf(ownerIndex, planned.ranks.length)];
  if (relay === undefined) throw new UlyssesError('PLAN_INVALID', 'the plan has no ranks');
  let channel: StepChannel | null = null;
  let stopListening = (): void => undefined;
  try {
    // An owner without rows may see the commit before its link is up.
    const linked = cluster.link(relay, call.deadlineMs);
    const link = await Promise.race([linked, committed.then(() => linked)]);
    const { keep } = call.view;
    const carried = key.pass === 'forward' ? [] : carriedTensors(keep, planned.kvCachePolicy);
    const { sends, receives } = call.transfers(exchange, carried);
    const opened = cluster.plane.openStep({
      key,
      epoch: planned.epoch,
      self: ownerParty(ownerIndex),
      receives,
      routes: planned.ranks.map((rank) => ({ destination: rankParty(rank.rank), link })),
      relayBytes: 0,
      sendBytes: ownerBytes(exchange, key.pass, carried).sent,
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
    for (const send of sends) {
      opened.send(send.destination, send.tensor, send.number, send.place);
    }
    const rows = Promise.all([opened.received, opened.sent]);
    await Promise.race([rows, opened.failed, committed.then(() => rows)]);
    // Every row of this owner is where it belongs: its links may break now.
    await committed;
    return opened.close();
  } catch (thrown) {
    throw await firstCause(toUlyssesError(thrown), committed);
  } finally {
    stopListening();
    channel?.close();
  }
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
