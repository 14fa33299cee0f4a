import type { ClusterStore } from '@ulysses/rendezvous';
import type { Metrics, Sample } from '@ulysses/runtime';
import type { Attempt } from './attempt.js';
import type { Leading } from './leading.js';

/** What the numbers are read from. */
export interface CoordinatorSources {
  readonly store: ClusterStore;
  /** Null while another leads. */
  readonly leading: () => Leading | null;
  /** Since its own leadership was renewed; null when it holds none, or needs none. */
  readonly leaseAgeMs: () => number | null;
  readonly term: () => number;
}

const LEASES_MS = 1_000;

/** Registers a coordinator's metrics; returns what hears of every attempt that ended. They outlive a leadership. */
export function measureCoordinator(
  metrics: Metrics,
  { store, leading, leaseAgeMs, term }: CoordinatorSources,
): (attempt: Attempt) => void {
  const steps = metrics.counter({
    name: 'ulysses_steps_total',
    help: 'Attempts at steps that ended, committed or with the code of their first cause.',
    labels: ['pass', 'outcome'],
  });
  const phases = metrics.counter({
    name: 'ulysses_step_phase_seconds_total',
    help: 'Time that attempts spent in each phase: agree, ranks, gather_size and prepare are waiting, run moves rows and computes.',
    labels: ['pass', 'phase'],
  });
  metrics.gauge({ name: 'ulysses_steps_running', help: 'Attempts at steps that have not ended.' }, () => {
    return leading()?.steps.running ?? 0;
  });
  metrics.gauge({ name: 'ulysses_leading', help: '1 while this coordinator leads, else 0.' }, () => {
    return Number(leading() !== null);
  });
  metrics.gauge(
    { name: 'ulysses_term', help: 'Newest term of leadership that this coordinator knows.' },
    term,
  );
  metrics.gauge({ name: 'ulysses_epoch', help: 'Newest epoch that this coordinator knows.' }, () => {
    return store.membership.epoch;
  });
  metrics.gauge({ name: 'ulysses_epoch_ready', help: '1 while steps can run, else 0.' }, () => {
    return Number(leading()?.fleet.readyEpoch !== undefined && leading()?.fleet.readyEpoch !== null);
  });
  metrics.gauge(
    { name: 'ulysses_ranks', help: 'Ranks that are taken.' },
    () => store.membership.members.length,
  );
  metrics.gauge({ name: 'ulysses_ranks_wanted', help: 'Ranks that make the cluster complete.' }, () => {
    return store.membership.cpSize;
  });
  metrics.gauge(
    {
      name: 'ulysses_lease_age_seconds',
      help: 'Since the leadership was last renewed; absent while another leads, and without Redis.',
    },
    () => {
      const ageMs = leaseAgeMs();
      return ageMs === null ? [] : [{ value: ageMs / 1000 }];
    },
  );
  metrics.gauge(
    {
      name: 'ulysses_member_lease_age_seconds',
      help: 'Since each member last renewed its lease; only where the coordinator leads.',
      labels: ['rank', 'member'],
    },
    async (): Promise<readonly Sample[]> => {
      if (leading() === null) return [];
      const leases = await store.leaseAges({ deadlineMs: LEASES_MS }).catch(() => []);
      return leases.map(({ rank, member, ageMs }) => {
        return { labels: { rank: String(rank), member }, value: ageMs / 1000 };
      });
    },
  );
  return (attempt) => {
    const { pass } = attempt.key;
    steps({ pass, outcome: attempt.failure?.code ?? 'committed' }, 1);
    for (const [phase, seconds] of attempt.secondsByPhase) phases({ pass, phase }, seconds);
  };
}
