import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { detectIsa } from '@ulysses/native';
import { switchOption } from '@ulysses/runtime';
import type { DType } from '@ulysses/tensor';
import {
  CAUSAL,
  EVENT_LOOP,
  kernelCases,
  ownCases,
  type KernelCase,
  type OwnCase,
  type Pass,
} from './kernel-cases.js';
import { KernelAttention, type AttentionShape } from './kernel-attention.js';
import { packingCases } from './kernel-packing.js';
import { Peer } from './peer.js';
import { readCommandLine } from './read-command-line.js';
import { printResult, quantityResult, ratioResult, writeResults, type Result } from './results.js';
import { compare, median, type Window } from './windows.js';

/**
 * Attention on the device of this process, against PyTorch's `scaled_dot_product_attention` and its backward: GFLOP per CPU-second,
 * windows of both sides alternating; and shapes of ours against each other. FLOPs are the useful ones: 4 d per visible (row, key) pair
 * forward, 2.5 times that backward. What the exchange does to rows beside moving them is measured against memcpy.
 */
const WINDOWS = 5;
/** Calls of a window are repeated up to so much CPU time. */
const WINDOW_SECONDS = 0.2;
const PEAK = fileURLToPath(new URL('../../packages/native/target/release/examples/bench', import.meta.url));

/** One call takes seconds. */
const LONG = { dtype: 'f32', s: 16_384, d: 128, heads: 2, kvHeads: 2 } as const;
const KERNEL_MS = 10_000;
const RESULTS = ['out', 'dq', 'dk', 'dv'] as const;

const { flags, wants, isNarrowed } = readCommandLine({
  command: 'npm run bench:kernels',
  about: `Attention on the device of this process, one thread, against PyTorch's scaled_dot_product_attention and its backward (npm run
bench:setup first); shapes of ours against each other; and what the exchange does to rows beside moving them, against memcpy. Without
arguments it also holds both sides' errors against PyTorch's own float64, and fails when ours are too large. It builds two programs with
cargo. What is measured goes to bench/results/kernels.json, and with npm run bench:docs to docs/benchmarks.md.`,
  takes:
    'The usual cases take several minutes; with --all PyTorch takes minutes for some of the others alone.',
  options: {
    all: switchOption({ flag: 'all', env: null, help: 'Every shape, not only the usual ones.' }),
  },
  cases: {
    by: 'words',
    of: ({ all }) =>
      [...kernelCases(all), ...ownCases(), ...packingCases()]
        .map(({ target }) => target.case)
        .concat(EVENT_LOOP.case),
  },
});
const isWanted = ({ target }: { target: { case: string } }): boolean => wants(target.case);
buildExamples();
const peer = await Peer.start('torch_sdpa.py', []);
console.log(`instruction set ${detectIsa()}, against PyTorch ${peer.about}`);
try {
  if (!isNarrowed) for (const dtype of ['f32', 'bf16', 'f16'] as const) await compareErrors(dtype);
  for (const measured of kernelCases(flags.all).filter(isWanted)) {
    report(await againstTorch(measured));
  }
  for (const measured of ownCases().filter(isWanted)) report(await againstItself(measured));
  for (const { target, measure } of packingCases().filter(isWanted)) {
    report(ratioResult(target, compare(await measure(WINDOWS))));
  }
  if (wants(EVENT_LOOP.case)) report(await eventLoopDelay());
} finally {
  await peer.stop();
}

function report(result: Result): void {
  printResult(result);
  writeResults('kernels', [result]);
}

async function againstTorch({ pass, shape, causal, target }: KernelCase): Promise<Result> {
  const { dtype, s, d, heads, kvHeads } = shape;
  const ours = new KernelAttention(shape);
  const gigaflop = flopsPerPair(pass, d) * ours.visiblePairs;
  const request = { do: 'time', pass, dtype, s, d, heads, kv_heads: kvHeads, causal };
  const theirs = async (runs: number): Promise<number> =>
    median(await peer.ask<number[]>(JSON.stringify({ ...request, runs })));
  await ours.forward(1);
  const runs = repeatsFor(await cpuSeconds(ours, pass, 1, 1));
  const peerRuns = repeatsFor(await theirs(1));
  const windows: Window[] = [];
  const shares: number[] = [];
  for (let window = 0; window < WINDOWS; window++) {
    const value = gigaflop / (await cpuSeconds(ours, pass, 1, runs));
    windows.push({ value, peer: gigaflop / (await theirs(peerRuns)) });
    shares.push(value / peakOf(dtype));
  }
  ours.free();
  return ratioResult(target, compare(windows), { peakShare: median(shares) });
}

async function againstItself({ pass, shape, over, threads, quantity, target }: OwnCase): Promise<Result> {
  const side = async (of: AttentionShape, count: number): Promise<() => Promise<number>> => {
    const attention = new KernelAttention(of);
    const gigaflop = flopsPerPair(pass, of.d) * attention.visiblePairs;
    const seconds = quantity === 'clock' ? clockSeconds : cpuSeconds;
    await attention.forward(count);
    const runs = repeatsFor(await seconds(attention, pass, count, 1));
    return async () => {
      const taken = await seconds(attention, pass, count, runs);
      return quantity === 'row' ? (taken / of.s) * 1e6 : gigaflop / taken;
    };
  };
  const [ours, theirs] = [await side(shape, threads[0]), await side(over, threads[1])];
  const windows: Window[] = [];
  for (let window = 0; window < WINDOWS; window++)
    windows.push({ value: await ours(), peer: await theirs() });
  return ratioResult(target, compare(windows));
}

/** How late timers of this process fire while a kernel runs in it on one thread. */
async function eventLoopDelay(): Promise<Result> {
  const attention = new KernelAttention({ ...LONG, mask: CAUSAL });
  const milliseconds: number[] = [];
  for (let window = 0; window < WINDOWS; window++) {
    const delays = monitorEventLoopDelay({ resolution: 1 });
    const end = performance.now() + KERNEL_MS / WINDOWS;
    delays.enable();
    while (performance.now() < end) await attention.forward(1);
    delays.disable();
    milliseconds.push(delays.percentile(99) / 1e6);
  }
  attention.free();
  return quantityResult(EVENT_LOOP, milliseconds);
}

/** In units of 10^9. */
function flopsPerPair(pass: Pass, d: number): number {
  return ((pass === 'forward' ? 4 : 10) * d) / 1e9;
}

function repeatsFor(seconds: number): number {
  return Math.max(1, Math.round(WINDOW_SECONDS / seconds));
}

/** CPU time of this process per call: its other threads have nothing to do. */
async function cpuSeconds(
  attention: KernelAttention,
  pass: Pass,
  threads: number,
  runs: number,
): Promise<number> {
  const before = process.cpuUsage();
  for (let run = 0; run < runs; run++) await attention[pass](threads);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6 / runs;
}

async function clockSeconds(
  attention: KernelAttention,
  pass: Pass,
  threads: number,
  runs: number,
): Promise<number> {
  const began = performance.now();
  for (let run = 0; run < runs; run++) await attention[pass](threads);
  return (performance.now() - began) / 1000 / runs;
}

/** GFLOP per CPU-second of what this machine's vectors do best for the dtype, in one thread, now. */
function peakOf(dtype: DType): number {
  return Number(execFileSync(PEAK, [dtype === 'bf16' ? '--peak-bf16' : '--peak'], { encoding: 'utf8' }));
}

/** The meter of peaks, and of the tensor plane's packing. */
function buildExamples(): void {
  const manifest = fileURLToPath(new URL('../../packages/native/Cargo.toml', import.meta.url));
  const build = ['build', '--release', '--quiet', '--locked', '--manifest-path', manifest];
  for (const example of [
    ['ulysses-kernels', 'bench'],
    ['ulysses-dataplane', 'packing'],
  ] as const) {
    execFileSync('cargo', [...build, '-p', example[0], '--example', example[1]], { stdio: 'inherit' });
  }
}

/**
 * Both sides' errors against PyTorch's own float64, on the same inputs: relative, over all heads. Fails when one of ours is more
 * than twice PyTorch's + 3e-5.
 */
async function compareErrors(dtype: DType): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ulysses-kernels-'));
  const shape = { dtype, s: 1021, d: 64, heads: 8, kvHeads: 2 };
  const attention = new KernelAttention({ ...shape, mask: CAUSAL });
  const exchange = async <Answer>(request: string): Promise<Answer> =>
    await peer.ask<Answer>(JSON.stringify({ do: request, ...shape, kv_heads: shape.kvHeads, folder }));
  try {
    await exchange('make');
    for (const name of ['q', 'k', 'v', 'dout'] as const) {
      attention.regions[name].bytes.set(readFileSync(join(folder, name)));
    }
    await attention.forward(1);
    await attention.backward(1);
    for (const name of RESULTS) writeFileSync(join(folder, name), attention.regions[name].bytes);
    const errors =
      await exchange<Record<(typeof RESULTS)[number], { ours: number; torch: number }>>('compare');
    for (const name of RESULTS) {
      const { ours, torch } = errors[name];
      const holds = ours <= 2 * torch + 3e-5;
      console.log(
        `[${dtype} ${name}] error ${ours.toExponential(1)}, PyTorch's ${torch.toExponential(1)}: ${holds ? 'held' : 'NOT held'}`,
      );
      if (!holds) process.exitCode = 1;
    }
  } finally {
    attention.free();
    rmSync(folder, { recursive: true });
  }
}
