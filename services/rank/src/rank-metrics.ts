import type { ExchangePlane } from '@ulysses/exchange';
import type { LeaseKeeper } from '@ulysses/rendezvous';
import type { Pass } from '@ulysses/rpc';
import type { Metrics } from '@ulysses/runtime';
import type { CoordinatorStream } from './coordinator-stream.js';
import type { ForwardStore } from './forward-store.js';
import type { RankPhase } from './step-clock.js';

/** What a rank counts about its steps. */
export interface StepCounts {
  ended(pass: Pass, outcome: 'committed' | 'aborted'): void;
  phase(pass: Pass, phase: RankPhase, seconds: number): void;
}

/** What the other numbers are read from. */
export interface RankSources {
  readonly plane: ExchangePlane;
  readonly store: ForwardStore;
  readonly stream: CoordinatorStream;
  readonly keeper: Pick<LeaseKeeper, 'ageMs' | 'epoch'>;
  readonly stepsRunning: () => number;
}

export function countSteps(metrics: Metrics): StepCounts {
  const steps = metrics.counter({
    name: 'ulysses_steps_total',
    help: 'Steps that ended on this rank.',
    labels: ['pass', 'outcome'],
  });
  const phases = metrics.counter({
    name: 'ulysses_step_phase_seconds_total',
    help: 'Time of steps on this rank: wait (voted, first rows not there), receive, compute, return, relay (an exchange alone), commit.',
    labels: ['pass', 'phase'],
  });
  return {
    ended: (pass, outcome) => {
      steps({ pass, outcome }, 1);
    },
    phase: (pass, phase, seconds) => {
      phases({ pass, phase }, seconds);
    },
  };
}

/** Registers everything that is read when somebody asks. */
export function measureRank(metrics: Metrics, sources: RankSources): void {
  const { plane, store, stream, keeper, stepsRunning } = sources;
  const gauge = (name: string, help: string, read: () => number): void => {
    metrics.gauge({ name, help }, read);
  };
  metrics.sum(
    {
      name: 'ulysses_payload_bytes_total',
      help: 'Rows that moved: sent (relayed ones too), shared (of them, read in place by peers of this host), received (placed here), relayed (passed on for others).',
      labels: ['direction'],
    },
    () => {
      const {
        sentBytes: sent,
        sharedBytes: shared,
        receivedBytes: received,
        relayedBytes: relayed,
      } = plane.counters;
      return Object.entries({ sent, shared, received, relayed }).map(([direction, value]) => {
        return { labels: { direction }, value };
      });
    },
  );
  gauge('ulysses_links', 'Tensor links that are up.', () => plane.counters.links);
  gauge('ulysses_steps_running', 'Steps between vote and commit.', stepsRunning);
  gauge('ulysses_store_bytes', 'Kept for backward passes, or reserved to be.', () => store.bytes);
  gauge('ulysses_store_budget_bytes', 'Most that may be kept.', () => store.budgetBytes);
  gauge('ulysses_store_handles', 'Forwards that are kept.', () => store.handles);
  gauge('ulysses_epoch', 'Newest epoch that this rank knows.', () => keeper.epoch);
  gauge('ulysses_epoch_ready', '1 while this rank has a seat in an epoch, else 0.', () => {
    return Number(stream.seat !== null);
  });
  gauge(
    'ulysses_lease_age_seconds',
    'Since its lease was last renewed; grows on while it holds none.',
    () => {
      return keeper.ageMs / 1000;
    },
  );
}
