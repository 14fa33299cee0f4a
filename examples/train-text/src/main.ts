#!/usr/bin/env node
import { once } from 'node:events';
import { UlyssesError } from '@ulysses/errors';
import type { Attention } from './attention/attention.js';
import { connectClusterAttention } from './attention/cluster-attention.js';
import { createLocalAttention } from './attention/local-attention.js';
import { startCluster, type OwnCluster } from './cluster-process.js';
import { parseOptions, type Options } from './options.js';
import { largestDifference, lossTable, progressLine } from './progress.js';
import { cutChunks, drawChunks, type Chunk } from './text/chunks.js';
import { findTextFiles } from './text/text-files.js';
import { train, type StepResult } from './train.js';

/** Most by which the losses on the cluster and on one device may differ, relative; rounding stays far below. */
const LARGEST_DIFFERENCE = { f32: 5e-5, bf16: 2e-2, f16: 2e-2 };

const print = (line: string): void => {
  console.log(line);
};

/** Trains on the cluster, then on one device; returns the exit code. */
async function run(options: Options, interrupt: AbortSignal): Promise<number> {
  const files = await findTextFiles(options.input);
  const chunks = drawChunks(cutChunks(files, options.shape.maxLength), options.steps, options.seed);
  if (options.cluster.kind === 'running') {
    const trained = await trainOnCluster(options, chunks, options.cluster.address, interrupt);
    return compare(options, chunks, trained, interrupt);
  }
  const { settings, keepServing } = options.cluster;
  print(`starting a cluster of ${settings.contextParallelSize} ranks; ${files.length} text files`);
  const cluster = await startCluster(settings, interrupt);
  try {
    const signal = AbortSignal.any([interrupt, cluster.lost]);
    const trained = await trainOnCluster(options, chunks, cluster.address, signal);
    // Stopped before the comparison, which wants the processor for itself.
    if (!keepServing) await cluster.stop();
    const exitCode = await compare(options, chunks, trained, interrupt);
    if (keepServing) await serveUntilInterrupted(cluster, interrupt);
    return exitCode;
  } catch (error) {
    // Why the cluster ended says more than that a call was cancelled.
    cluster.lost.throwIfAborted();
    throw error;
  } finally {
    await cluster.stop();
  }
}

async function trainOnCluster(
  options: Options,
  chunks: readonly Chunk[],
  address: string,
  signal: AbortSignal,
): Promise<StepResult[]> {
  const { route, insecure, shape, form } = options;
  const connection = { address, route, insecure, onReplay: announceOnce() };
  const attention = await connectClusterAttention(connection, shape, form);
  try {
    return await trainAll(options, chunks, attention, signal, (result) => {
      print(progressLine(result, options.steps, options.shape.heads));
    });
  } finally {
    await attention.close();
  }
}

/** Says why a step is repeated, once for each reason in a row: it may be repeated many times. */
function announceOnce(): (reason: UlyssesError) => void {
  let last = '';
  return ({ message }) => {
    if (message !== last) console.error(`${message}; trying again`);
    last = message;
  };
}

/** The same training on one device; 1 when the losses differ by more than rounding. */
async function compare(
  options: Options,
  chunks: readonly Chunk[],
  trained: readonly StepResult[],
  signal: AbortSignal,
): Promise<number> {
  if (!options.compare) return 0;
  print('\nthe same training on one device:');
  const attention = createLocalAttention(options.shape, options.form, options.threads);
  const local = await trainAll(options, chunks, attention, signal, () => undefined);
  const difference = largestDifference(trained, local);
  print(`${lossTable(trained, local)}\nlargest difference: ${difference.toExponential(1)}`);
  return difference <= LARGEST_DIFFERENCE[options.form.dtype] ? 0 : 1;
}

async function trainAll(
  options: Options,
  chunks: readonly Chunk[],
  attention: Attention,
  signal: AbortSignal,
  onStep: (result: StepResult) => void,
): Promise<StepResult[]> {
  const results: StepResult[] = [];
  for await (const result of train(options, chunks, attention, signal)) {
    onStep(result);
    results.push(result);
  }
  return results;
}

async function serveUntilInterrupted({ address, lost }: OwnCluster, interrupt: AbortSignal): Promise<void> {
  print(`\nthe cluster serves at ${address}; train on it with --address ${address}; Ctrl-C stops it`);
  const end = AbortSignal.any([interrupt, lost]);
  if (!end.aborted) await once(end, 'abort');
  if (!interrupt.aborted) lost.throwIfAborted();
}

const interrupt = new AbortController();
const interrupted = new UlyssesError('CANCELLED', 'interrupted');
// Once: a second Ctrl-C ends the process at once.
process.once('SIGINT', () => {
  interrupt.abort(interrupted);
});
process.once('SIGTERM', () => {
  interrupt.abort(interrupted);
});
try {
  process.exitCode = await run(parseOptions(process.argv), interrupt.signal);
} catch (error) {
  console.error(interrupt.signal.aborted ? 'interrupted' : error instanceof Error ? error.message : error);
  process.exitCode = interrupt.signal.aborted ? 130 : 1;
}
