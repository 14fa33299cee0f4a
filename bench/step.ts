import { UlyssesError } from '@ulysses/errors';
import { Aggressor } from './aggressor.js';
import { BenchCluster } from './cluster.js';
import { OneProcess } from './one-process.js';
import { emptyShape, Owners, type StepShape } from './owners.js';
import { overlap } from './overlap.js';
import { Peer } from './peer.js';
import { readCommandLine } from './read-command-line.js';
import { printResult, quantityResult, ratioResult, writeResults, type Result } from './results.js';
import { STEP_TARGETS as TARGETS } from './targets.js';
import { alternate, compare, median, repeated, type Window } from './windows.js';

/**
 * Whole steps of four sequence owners on a cluster of four ranks of this host, against PyTorch and gloo doing the same in four
 * processes, and against the same kernels in one process. What is compared alternates, window by window.
 */
const RANKS = 4;
const OWNERS = 4;
const WINDOWS = 5;
/** Of either side in one window of `unaligned`: steps differ among themselves by more than it is held to. */
const STEPS_PER_WINDOW = 3;
const LONG: StepShape = { rows: 8190, heads: 8, headSize: 64, dtype: 'f32' };
const SMALL: StepShape = { rows: 256, heads: 8, headSize: 64, dtype: 'f32' };

const CASES: readonly (readonly [name: string, measure: () => Promise<Result | readonly Result[]>])[] = [
  ['agree', () => agree('agree', 1)],
  ['agree 4 owners', () => agree('agree 4 owners', OWNERS)],
  ['small', small],
  ['kill', kill],
  ['step f32', () => step('step f32', LONG)],
  ['step bf16', () => step('step bf16', { ...LONG, dtype: 'bf16' })],
  ['overhead', overhead],
  ['unaligned', unaligned],
  ['fairness flood', () => fairness('fairness flood')],
  ['fairness slow', () => fairness('fairness slow')],
  ['overlap fwd', () => overlap('forward', WINDOWS)],
  ['overlap bwd', () => overlap('backward', WINDOWS)],
];

const { wants } = readCommandLine({
  command: 'npm run bench:step',
  about: `Whole steps of four sequence owners on a cluster of four ranks of this host, against PyTorch and gloo doing the same in four
processes (npm run bench:setup first), and against the same kernels in one process. overlap takes root, for a network namespace.
What is measured goes to bench/results/step.json, and with npm run bench:docs to docs/benchmarks.md.`,
  takes: 'All of it takes about eight minutes.',
  options: {},
  cases: { by: 'name', of: () => CASES.map(([name]) => name) },
});

for (const [name, measure] of CASES) {
  if (!wants(name)) continue;
  const results = [await measure()].flat();
  results.forEach(printResult);
  writeResults('step', results);
}

async function step(name: 'step f32' | 'step bf16', shape: StepShape): Promise<Result> {
  const dtype = shape.dtype === 'f32' ? 'float32' : 'bfloat16';
  const peer = await Peer.start('torch_ulysses_step.py', [
    RANKS,
    shape.rows,
    shape.heads,
    shape.headSize,
    dtype,
  ]);
  try {
    return await withWarmOwners(OWNERS, async (owners) => {
      const shards = owners.shards(shape);
      const windows = await alternate(
        WINDOWS,
        () => owners.step(shards),
        async () => (await peer.measure(1))['step']!.ms[0]!,
      );
      // A ratio of speeds: how many of ours fit into one of theirs.
      return ratioResult(
        TARGETS[name],
        compare(windows.map(({ value, peer }) => ({ value: 1000 / value, peer: 1000 / peer }))),
      );
    });
  } finally {
    await peer.stop();
  }
}

/**
 * CPU time, since whoever runs more processes gets more of a busy machine: on a quiet one both use all of it. Beside it the wall
 * clock, which also shows where a step waits.
 */
async function overhead(): Promise<Result[]> {
  const alone = new OneProcess(LONG, RANKS);
  const ownSeconds = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  interface Cost {
    readonly cpu: number;
    readonly wall: number;
  }
  const cost = async (run: () => Promise<unknown>, cpuSeconds: () => number): Promise<Cost> => {
    const [began, before] = [performance.now(), cpuSeconds()];
    await run();
    const wall = (performance.now() - began) / 1000;
    return { cpu: cpuSeconds() - before, wall };
  };
  return await withWarmOwners(OWNERS, async (owners, cluster) => {
    const shards = owners.shards(LONG);
    const windows = await alternate(
      WINDOWS,
      () =>
        cost(
          () => owners.step(shards),
          () => {
            const { coordinator, ranks } = cluster.cpuSeconds();
            return ownSeconds() + coordinator + ranks;
          },
        ),
      () => cost(() => alone.step(), ownSeconds),
    );
    const of = (kind: keyof Cost): Window[] =>
      windows.map(({ value, peer }) => ({ value: value[kind], peer: peer[kind] }));
    return [
      ratioResult(TARGETS.overhead, compare(of('cpu'))),
      ratioResult(TARGETS['overhead wall'], compare(of('wall'))),
    ];
  });
}

async function unaligned(): Promise<Result> {
  return await withWarmOwners(OWNERS, async (owners) => {
    const microsecondsPerToken = (rows: number): (() => Promise<number>) => {
      const shards = owners.shards({ ...LONG, rows });
      return async () => {
        const ms: number[] = [];
        for (let step = 0; step < STEPS_PER_WINDOW; step++) ms.push(await owners.step(shards));
        return (1000 * median(ms)) / rows;
      };
    };
    const windows = await alternate(WINDOWS, microsecondsPerToken(LONG.rows), microsecondsPerToken(8192));
    return ratioResult(TARGETS.unaligned, compare(windows));
  });
}

async function agree(name: 'agree' | 'agree 4 owners', count: number): Promise<Result> {
  return await withWarmOwners(count, async (owners) => {
    const shards = owners.shards(emptyShape(RANKS));
    const window = async (): Promise<number> => {
      const ms: number[] = [];
      for (let i = 0; i < 100; i++) ms.push((await owners.forward(shards)).agreedMs);
      return median(ms);
    };
    return quantityResult(TARGETS[name], await repeated(WINDOWS, window));
  });
}

async function small(): Promise<Result> {
  return await withOwners(1, async (owners) => {
    const shards = owners.shards(SMALL);
    await owners.warmUp(shards);
    const window = async (): Promise<number> => {
      const began = performance.now();
      for (let i = 0; i < 200; i++) await owners.forward(shards);
      return 200 / ((performance.now() - began) / 1000);
    };
    return quantityResult(TARGETS.small, await repeated(WINDOWS, window));
  });
}

/** From SIGKILL of a rank in the middle of a step to the last owner's error, which must name the rank. */
async function kill(): Promise<Result> {
  const ms: number[] = [];
  for (let window = 0; window < WINDOWS; window++) {
    const victim = window % RANKS;
    ms.push(
      await withOwners(OWNERS, async (owners, cluster) => {
        const shards = owners.shards(LONG);
        await owners.forward(shards);
        const failures = owners.failures(shards);
        await new Promise((resolve) => setTimeout(resolve, 200));
        const killedAt = performance.now();
        cluster.kill(victim);
        const seen = await failures;
        for (const { error } of seen) {
          const names =
            error instanceof UlyssesError &&
            error.code === 'PEER_LOST' &&
            error.details['peer'] === `rank ${victim}`;
          if (!names) throw new Error(`rank ${victim} was killed, but an owner got ${String(error)}`);
        }
        return Math.max(...seen.map(({ at }) => at)) - killedAt;
      }),
    );
  }
  return quantityResult(TARGETS.kill, ms);
}

/** The victim's step with and without another job's steps in flight on the same ranks and links. */
async function fairness(name: 'fairness flood' | 'fairness slow'): Promise<Result> {
  return await withOwners(1, async (owners, cluster) => {
    const shards = owners.shards(SMALL);
    const aggressor = await Aggressor.start(cluster.address);
    const window = async (): Promise<number> => {
      const ms: number[] = [];
      for (let i = 0; i < 15; i++) {
        const began = performance.now();
        await owners.forward(shards);
        ms.push(performance.now() - began);
      }
      return median(ms);
    };
    try {
      const slow = name === 'fairness slow';
      const windows = await alternate(WINDOWS, () => aggressor.during(slow, window), window);
      return ratioResult(TARGETS[name], compare(windows));
    } finally {
      await aggressor.stop();
    }
  });
}

/** With all processes compiled, as they are but for a trainer's first minute. */
async function withWarmOwners<T>(
  count: number,
  act: (owners: Owners, cluster: BenchCluster) => Promise<T>,
): Promise<T> {
  return await withOwners(count, async (owners, cluster) => {
    await owners.warmUp(owners.shards(emptyShape(RANKS)));
    return await act(owners, cluster);
  });
}

async function withOwners<T>(
  count: number,
  act: (owners: Owners, cluster: BenchCluster) => Promise<T>,
): Promise<T> {
  const cluster = await BenchCluster.start(RANKS, ['--no-restart']);
  try {
    const owners = await Owners.connect(cluster.address, count, 0);
    try {
      return await act(owners, cluster);
    } finally {
      await owners.close();
    }
  } finally {
    await cluster.stop();
  }
}
