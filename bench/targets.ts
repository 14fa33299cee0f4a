import type { Target } from './results.js';

/** What `npm run bench:step` measures, and what it is held to. */
export const STEP_TARGETS = {
  'step f32': speed('step f32', 1.1, 1.5),
  'step bf16': speed('step bf16', 1.7, 2.3),
  overhead: {
    case: 'overhead',
    what: 'CPU time of the step, cluster and owners, over its kernels in one process',
    unit: 'CPU-s',
    must: 1.12,
    ambitious: 1.05,
    lowerIsBetter: true,
  },
  unaligned: {
    case: 'unaligned',
    what: 'time per token at s = 8190 over s = 8192',
    unit: 'µs',
    must: 1.02,
    ambitious: 1.01,
    lowerIsBetter: true,
  },
  agree: quantity('agree', 'from the call to the plan, every owner and rank having said yes', 'ms', 2, 0.7),
  kill: quantity('kill', 'from a rank’s SIGKILL to the last owner’s error naming it', 'ms', 250, 100),
  small: {
    ...quantity('small', 'forwards of s = 256, h = 8, d = 64', 'steps/s', 150, 600),
    lowerIsBetter: false,
  },
} satisfies Record<string, Target>;

/** What `npm run bench:exchange` measures. */
export const EXCHANGE_TARGETS = {
  'tcp 4MiB': throughput('tcp 4MiB', 0.9, 1.3),
  'tcp 64MiB': throughput('tcp 64MiB', 0.75, 1),
  'unix 64MiB': throughput('unix 64MiB', 0.85, 1.2),
  'cpu tcp': quantity('cpu tcp', 'CPU time of all processes, 64 MiB each', 'CPU-s/GB', 0.65, 0.48),
} satisfies Record<string, Target>;

function throughput(name: string, must: number, ambitious: number): Target {
  const what = 'whole all-to-all, 4 processes, against gloo';
  return { case: name, what, unit: 'GB/s', must, ambitious, lowerIsBetter: false };
}

function speed(name: string, must: number, ambitious: number): Target {
  const what = 'forward and backward, s = 8190, h = 8, d = 64, causal, against PyTorch and gloo';
  return { case: name, what, unit: 'steps/s', must, ambitious, lowerIsBetter: false };
}

function quantity(name: string, what: string, unit: string, must: number, ambitious: number): Target {
  return { case: name, what, unit, must, ambitious, lowerIsBetter: true };
}
