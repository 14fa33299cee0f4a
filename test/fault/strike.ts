import { once } from 'node:events';
import { relayOf } from '@ulysses/exchange';
import { arm, onHit, type Fault } from '../support/fault-point.js';
import type { TrainerWorker } from '../support/trainer-worker.js';
import { peerNamed, type Suspect } from './expect-cause.js';
import type { FaultCluster } from './fault-cluster.js';
import type { RedisUnderTest } from './redis-under-test.js';
import type { Scenario } from './scenario.js';

/** One fault of a run: how it is brought about, and how what it broke is replaced. */
export interface Strike {
  /** Where trainers dial. */
  readonly address: string;
  /** How an error names the victim; null: nobody is to notice. */
  readonly suspect: Suspect | null;
  /** Resolves when it has happened: owners may have their results before the rank that is watched hears that they were committed. */
  happens(): Promise<void>;
  /** Will happen in the scenario's phase of the next step. */
  arm(trainers: readonly TrainerWorker[]): Promise<void>;
  /** Happens at once. */
  now(trainers: readonly TrainerWorker[]): Promise<void>;
  /** Replaces whom it took, and undoes what can be undone; does nothing the second time. */
  mend(): Promise<void>;
}

/** What a victim is: the signal that it gets, and what happens right then and at last. */
interface Victim {
  readonly suspect: Suspect | null;
  /** Null: it is the trainer of that owner. */
  readonly pid: number | null;
  readonly signal: NodeJS.Signals | 0;
  readonly onHit: () => Promise<void>;
  readonly mend: () => Promise<void>;
}

/** From the end of a step to the fault in it. */
const HAPPENS_WITHIN_MS = 10_000;
/** What a process that is not hit itself is sent, to no effect. */
const NO_SIGNAL = 0;

export async function strike(
  scenario: Scenario,
  cluster: FaultCluster,
  redis: RedisUnderTest,
): Promise<Strike> {
  const victim = await victimOf(scenario, cluster, redis);
  const address = cluster.addresses;
  const observer = await cluster.rankOf(scenario.rank);
  const state: { recovery: Promise<void> | null; mended: boolean } = { recovery: null, mended: false };
  const happened = new AbortController();
  const hit = (): void => {
    state.recovery ??= victim.onHit();
    happened.abort();
    // Waited for when it is mended.
    state.recovery.catch(() => undefined);
  };
  return {
    address,
    suspect: victim.suspect,
    happens: async () => {
      const either = AbortSignal.any([happened.signal, AbortSignal.timeout(HAPPENS_WITHIN_MS)]);
      if (!either.aborted) await once(either, 'abort');
      if (state.recovery === null) throw new Error('the fault never happened');
    },
    arm: async (trainers) => {
      const { phase, pass, owner } = scenario;
      if (phase === 'agree') throw new Error('nobody observes the time before a step');
      const trainer = trainers[owner]!.child;
      // The plan is known to all when an owner has it; everything later is seen best by a rank.
      const child = phase === 'prepare' ? trainer : observer.child;
      const pid = victim.pid ?? trainer.pid!;
      onHit(child, hit);
      // A process that is killed may not have been able to say so.
      if (pid === child.pid) void once(child, 'exit').then(hit);
      await arm(child, { point: phase, pass, pid, signal: victim.signal as Fault['signal'] });
    },
    now: async (trainers) => {
      const { pid } = trainers[scenario.owner]!.child;
      process.kill(victim.pid ?? pid!, victim.signal);
      hit();
      return Promise.resolve();
    },
    mend: async () => {
      await state.recovery;
      if (state.mended) return;
      state.mended = true;
      if (state.recovery !== null) await victim.mend();
    },
  };
}

async function victimOf(scenario: Scenario, cluster: FaultCluster, redis: RedisUnderTest): Promise<Victim> {
  const nothing = (): Promise<void> => Promise.resolve();
  const { rank, owner, cut } = scenario;
  switch (scenario.victim) {
    case 'rank': {
      const victim = await cluster.rankOf(rank);
      return {
        suspect: peerNamed(`rank ${rank}`),
        pid: victim.pid,
        signal: 'SIGKILL',
        onHit: async () => {
          await cluster.forgetRank(victim);
          await cluster.addRank();
        },
        mend: nothing,
      };
    }
    case 'stopped rank': {
      const victim = await cluster.rankOf(rank);
      return {
        suspect: peerNamed(`rank ${rank}`),
        pid: victim.pid,
        signal: 'SIGSTOP',
        onHit: () => cluster.addRank(),
        mend: async () => {
          // It goes on as if nothing had happened, finds that its lease is gone, and is one too many.
          process.kill(victim.pid, 'SIGCONT');
          await cluster.forgetRank(victim);
        },
      };
    }
    case 'coordinator': {
      const victim = await cluster.leader();
      return {
        suspect: coordinatorNamed(victim.address),
        pid: victim.pid,
        signal: 'SIGKILL',
        onHit: () => cluster.replaceCoordinator(victim),
        mend: nothing,
      };
    }
    case 'trainer':
      return {
        suspect: peerNamed(`owner ${owner}`),
        pid: null,
        signal: 'SIGKILL',
        onHit: nothing,
        mend: nothing,
      };
    case 'redis':
      return {
        suspect: null,
        pid: redis.pid,
        signal: 'SIGKILL',
        onHit: () => redis.restart(),
        mend: nothing,
      };
    case 'partition': {
      const { proxies, pid } = await cluster.rankOf(rank);
      const proxy = proxies?.[cut.port];
      if (proxy === undefined) throw new Error('the rank stands behind no proxy');
      return {
        suspect: eitherEnd(scenario),
        pid,
        signal: NO_SIGNAL,
        onHit: () => {
          proxy.partition(cut.direction);
          return Promise.resolve();
        },
        mend: () => {
          proxy.heal();
          return Promise.resolve();
        },
      };
    }
  }
}

/** The call to it broke, or it had a leader's lease no more: nobody else is called, and nobody else leads. */
function coordinatorNamed(address: string): Suspect {
  return {
    expected: `the coordinator at ${address}, or that nobody leads`,
    isNamedBy: ({ details }) => details['address'] === address || details['field'] === 'leader',
  };
}

/**
 * What a cut took from either end is the other end, and both are right: the rank whose port it is; or whoever dials that port,
 * which at the tensor port is a peer that this rank misses, or an owner whose link it is.
 */
function eitherEnd({ rank, cut, splits, route, cpSize }: Scenario): Suspect {
  const self = `rank ${rank}`;
  const owners = splits
    .map((_, owner) => owner)
    .filter((owner) => route !== 'relay' || relayOf(owner, cpSize) === rank)
    .map((owner) => `owner ${owner}`);
  const dials = cut.port === 'tensor' ? owners : [];
  return {
    expected: [self, `a peer that ${self} lost`, ...dials].join(', or '),
    isNamedBy: ({ details: { peer, reporter } }) =>
      peer === self || reporter === self || dials.includes(String(peer)),
  };
}
