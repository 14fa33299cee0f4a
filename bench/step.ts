import { UlyssesError } from '@ulysses/errors';
import { Aggressor } from './aggressor.js';
import { BenchCluster } from './cluster.js';
import { OneProcess } from './one-process.js';
import { Owners, type StepShape } from './owners.js';
import { overlap } from './overlap.js';
import { Peer } from './peer.js';
import { printResult, quantityResult, ratioResult, writeResults, type Result } from './results.js';
import { STEP_TARGETS as TARGETS, WARM_UP_STEPS } from './targets.js';
import { compare, median, type Window } from './windows.js';

/**
 * Whole steps of four sequence owners on a cluster of four ranks of this host, against PyTorch and gloo doing the same in four
 * processes, and against the same kernels in one process. What is compared alternates, window by window.
 *
 * Run: `npm run bench:setup && npm run bench:step`; with names of cases, only those.
 */
const RANKS = 4;
const OWNERS = 4;
const WINDOWS = 5;
const LONG: StepShape = { rows: 8190, heads: 8, headSize: 64, dtype: 'f32' };
/** One trainer, at the other end of a link, and heads enough that a rank has several. */
const OVERLAP = { ranks: RANKS, owners: 1, windows: WINDOWS };
const HIDDEN: StepShape = { ...LONG, heads: 16 };
const SMALL: StepShape = { rows: 256, heads: 8, headSize: 64, dtype: 'f32' };
/** The least that every rank still has a row of. */
const EMPTY: StepShape = { rows: 4, heads: 4, headSize: 1, dtype: 'f32' };

const wanted = new Set(process.argv.slice(2).filter((argument) => !argument.startsWith('--')));
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
  ['overlap fwd', () => overlap(TARGETS['overlap fwd'], 'forward', HIDDEN, OVERLAP)],
  ['overlap bwd', () => overlap(TARGETS['overlap bwd'], 'backward', HIDDEN, OVERLAP)],
];

for (const [name, measure] of CASES) {
  if (wanted.size > 0 && !wanted.has(name)) continue;
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
    return await withOwners(OWNERS, async (owners) => {
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
  return await withOwners(OWNERS, async (owners, cluster) => {
    const shards = owners.shards(LONG);
    const windows = await alternate(
      WINDOWS,
      () =>
        cost(
          () => owners.step(shards),
          () => ownSeconds() + cluster.cpuSeconds(),
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
  return await withOwners(OWNERS, async (owners) => {
    const aligned = { ...LONG, rows: 8192 };
    const [ours, theirs] = [owners.shards(LONG), owners.shards(aligned)];
    const windows = await alternate(
      WINDOWS,
      async () => (await owners.step(ours)) / LONG.rows,
      async () => (await owners.step(theirs)) / aligned.rows,
    );
    const inMicroseconds = windows.map(({ value, peer }) => ({ value: value * 1000, peer: peer * 1000 }));
    return ratioResult(TARGETS.unaligned, compare(inMicroseconds));
  });
}

async function agree(name: 'agree' | 'agree 4 owners', count: number): Promise<Result> {
  return await withOwners(count, async (owners) => {
    const shards = owners.shards(EMPTY);
    await warmUp(owners, shards);
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
    await warmUp(owners, shards);
    const window = async (): Promise<number> => {
      const began = performance.now();
      for (let i = 0; i < 200; i++) await owners.forward(shards);
      return 200 / ((performance.now() - began) / 1000);
    };
    return quantityResult(TARGETS.small, await repeated(WINDOWS, window));
  });
}

/** Steps until V8 has compiled what a step runs, in every process: what a trainer makes in its first minute. */
async function warmUp(owners: Owners, shards: ReturnType<Owners['shards']>): Promise<void> {
  for (let i = 0; i < WARM_UP_STEPS; i++) await owners.forward(shards);
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

/** The first of each warms up, and is dropped. */
async function alternate<T>(
  count: number,
  ours: () => Promise<T>,
  theirs: () => Promise<T>,
): Promise<{ readonly value: T; readonly peer: T }[]> {
  const windows: { readonly value: T; readonly peer: T }[] = [];
  for (let window = 0; window <= count; window++) {
    const value = await ours();
    const peer = await theirs();
    if (window > 0) windows.push({ value, peer });
  }
  return windows;
}

async function repeated(count: number, measure: () => Promise<number>): Promise<number[]> {
  await measure();
  const values: number[] = [];
  for (let window = 0; window < count; window++) values.push(await measure());
  return values;
}
