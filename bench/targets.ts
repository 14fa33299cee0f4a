import type { Target } from './results.js';

/** Steps before those that are measured, except by cases whose processes do not last. */
export const WARM_UP_STEPS = 2000;
const WARM = `after ${WARM_UP_STEPS} warm-up steps`;

/** What `npm run bench:step` measures, and what it is held to. */
export const STEP_TARGETS = {
  'step f32': speed('step f32', 1.1, 1.5),
  'step bf16': speed('step bf16', 1.7, 2.3),
  overhead: {
    case: 'overhead',
    what: `CPU time of the step, cluster and owners, over its kernels in one process, ${WARM}`,
    unit: 'CPU-s',
    must: 1.12,
    ambitious: 1.05,
    lowerIsBetter: true,
  },
  'overhead wall': {
    case: 'overhead wall',
    what: 'the same by the wall clock: what gets more of a busy machine shows faster than it is',
    unit: 's',
    must: null,
    ambitious: null,
    lowerIsBetter: true,
  },
  unaligned: {
    case: 'unaligned',
    what: `time per token at s = 8190 over s = 8192, ${WARM}`,
    unit: 'µs',
    must: 1.02,
    ambitious: 1.01,
    lowerIsBetter: true,
  },
  agree: quantity('agree', agreed('one owner'), 'ms', 2, 0.7),
  'agree 4 owners': quantity('agree 4 owners', agreed('four owners'), 'ms', null, null),
  kill: quantity('kill', 'from a rank’s SIGKILL to the last owner’s error naming it', 'ms', 250, 100),
  small: {
    ...quantity('small', `forwards of s = 256, h = 8, d = 64, ${warm('one owner')}`, 'steps/s', 150, 600),
    lowerIsBetter: false,
  },
  'fairness flood': fairness('fairness flood', 'floods the cluster, four large steps at a time', 4, 2.5),
  'fairness slow': fairness('fairness slow', 'does so and stands still nine tenths of the time', 4, 2),
  'overlap fwd': hidden('overlap fwd', 'forward'),
  'overlap fwd limiter': limiter('overlap fwd limiter', 'forward'),
  'overlap bwd': hidden('overlap bwd', 'backward'),
  'overlap bwd limiter': limiter('overlap bwd limiter', 'backward'),
} satisfies Record<string, Target>;

/** What `npm run bench:exchange` measures. */
export const EXCHANGE_TARGETS = {
  'tcp 4MiB': throughput('tcp 4MiB', 0.9, 1.3),
  'tcp 64MiB': throughput('tcp 64MiB', 0.75, 1),
  'mtls 64MiB': throughput('mtls 64MiB', 0.33, 0.5),
  'unix 64MiB': throughput('unix 64MiB', 0.85, 1.2),
  'shm-staged 64MiB': throughput('shm-staged 64MiB', 1.4, 1.9),
  'shm-pool 64MiB': throughput('shm-pool 64MiB', 2.3, 3),
  'cpu tcp': quantity('cpu tcp', 'CPU time of all processes, 64 MiB each', 'CPU-s/GB', 0.65, 0.48),
  'cpu pool': quantity('cpu pool', 'CPU time of all processes, 64 MiB each', 'CPU-s/GB', 0.2, 0.15),
} satisfies Record<string, Target>;

function hidden(name: string, pass: string): Target {
  const what = `${pass}, s = 8190, h = 16, d = 64, causal, one owner, over a link of at most 200 MB/s: share of the smaller of transfer and compute that is hidden`;
  return { case: name, what, unit: '', must: 0.6, ambitious: 0.8, lowerIsBetter: false };
}

function limiter(name: string, pass: string): Target {
  const what = `CPU time while ${pass}’s rows pass the limited link, less that without a limit, over the time`;
  return quantity(name, what, '% of a core', 10, 5);
}

function throughput(name: string, must: number, ambitious: number): Target {
  const what = 'whole all-to-all, 4 processes, against gloo';
  return { case: name, what, unit: 'GB/s', must, ambitious, lowerIsBetter: false };
}

function speed(name: string, must: number, ambitious: number): Target {
  const what = `forward and backward, s = 8190, h = 8, d = 64, causal, against PyTorch and gloo; ${WARM}`;
  return { case: name, what, unit: 'steps/s', must, ambitious, lowerIsBetter: false };
}

function agreed(owners: string): string {
  return `from the call to the plan, every owner and rank having said yes; ${warm(owners)}`;
}

function warm(owners: string): string {
  return `${owners}, ${WARM}`;
}

function quantity(
  name: string,
  what: string,
  unit: string,
  must: number | null,
  ambitious: number | null,
): Target {
  return { case: name, what, unit, must, ambitious, lowerIsBetter: true };
}

function fairness(name: string, what: string, must: number, ambitious: number): Target {
  const victim = 'a job’s small step while another job';
  return { case: name, what: `${victim} ${what}`, unit: 'ms', must, ambitious, lowerIsBetter: true };
}
