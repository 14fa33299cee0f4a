import type { Attention, AttentionReport } from './attention/attention.js';
import { clipGradients, createAdamW } from './model/adam-w.js';
import { createModel, type ModelShape } from './model/model.js';
import { readChunk, type Chunk } from './text/chunks.js';

export interface TrainingSettings {
  readonly shape: ModelShape;
  readonly seed: number;
  readonly learningRate: number;
  /** Threads of the matrix products in this process. */
  readonly threads: number;
}

/** One step, done. */
export interface StepResult {
  /** Counted from 1. */
  readonly step: number;
  readonly chunk: Chunk;
  readonly loss: number;
  readonly elapsedMs: number;
  /** One per exchange. */
  readonly reports: readonly AttentionReport[];
}

const WARMUP_STEPS = 5;
const GRADIENT_LIMIT = 1;
const ADAM = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 } as const;

/**
 * Trains a new model, one chunk of text per step, and yields each step when it is done. The same settings and chunks
 * give the same losses up to the rounding of `attention`. Throws CANCELLED when `signal` aborts.
 */
export async function* train(
  settings: TrainingSettings,
  chunks: readonly Chunk[],
  attention: Attention,
  signal: AbortSignal,
): AsyncGenerator<StepResult> {
  const model = createModel(settings.shape, settings.seed, settings.threads);
  const update = createAdamW(model.parameters, {
    ...ADAM,
    learningRate: settings.learningRate,
    warmupSteps: WARMUP_STEPS,
  });
  for (const [index, chunk] of chunks.entries()) {
    signal.throwIfAborted();
    const begun = performance.now();
    const pass = await model.forward(await readChunk(chunk), attention, signal);
    const reports = await pass.backward();
    clipGradients(model.parameters, GRADIENT_LIMIT);
    update();
    const elapsedMs = performance.now() - begun;
    yield { step: index + 1, chunk, loss: pass.loss, elapsedMs, reports };
  }
}
