import type { Attention, AttentionCall, AttentionReport, HeadShape } from '../attention/attention.js';
import { crossEntropy } from './cross-entropy.js';
import { embed, embedBackward, INPUT_TOKENS } from './embedding.js';
import {
  allocateActivations,
  allocateScratch,
  backwardLayer,
  createLayer,
  cut,
  forwardLayer,
  type LayerShape,
} from './layer.js';
import { normWeight, randomMatrix, type Parameter } from './parameter.js';
import { createProducts } from './products.js';
import { createRandom } from './random.js';
import { rmsNorm, rmsNormBackward } from './rms-norm.js';
import { createRotary } from './rotary.js';
import { allocate, firstRows } from './tensor.js';

export interface ModelShape extends HeadShape {
  readonly layers: number;
  /** Longest text of one step, in bytes. */
  readonly maxLength: number;
}

/** A byte-level causal language model; width = heads * head size, MLP twice as wide. */
export interface Model {
  readonly parameters: readonly Parameter[];
  /** Predicts each byte of `text` from those before it. One pass at a time: passes share their buffers. */
  forward(text: Uint8Array, attention: Attention, signal: AbortSignal): Promise<ForwardPass>;
}

export interface ForwardPass {
  /** Mean cross-entropy per byte, in nats. */
  readonly loss: number;
  /** Overwrites the gradients of all parameters. Returns one report per exchange, the forward ones included. */
  backward(): Promise<readonly AttentionReport[]>;
}

const BYTES = 256;
const EMBEDDING_DEVIATION = 0.5;
const LOGITS_DEVIATION = 0.02;

export function createModel(shape: ModelShape, seed: number, threads: number): Model {
  const width = shape.heads * shape.headSize;
  const layerShape: LayerShape = {
    heads: shape.heads,
    kvHeads: shape.kvHeads,
    headSize: shape.headSize,
    width,
    mlpWidth: 2 * width,
    residualDeviation: 1 / Math.sqrt(2 * shape.layers * width),
  };
  const random = createRandom(seed);
  const embedding = randomMatrix('embedding', INPUT_TOKENS, width, EMBEDDING_DEVIATION, random);
  const layers = Array.from({ length: shape.layers }, (_, index) =>
    createLayer(`layer${index}`, layerShape, random),
  );
  const finalNorm = normWeight('finalNorm', width);
  const logits = randomMatrix('logits', width, BYTES, LOGITS_DEVIATION, random);
  const parameters = [
    embedding,
    ...layers.flatMap((layer) => Object.values<Parameter>({ ...layer })),
    finalNorm,
    logits,
  ];

  const products = createProducts(threads);
  const tools = { products, rotary: createRotary(shape.headSize, shape.maxLength) };
  const buffers = {
    layers: layers.map(() => allocateActivations(layerShape, shape.maxLength)),
    scratch: allocateScratch(layerShape, shape.maxLength),
    final: allocate(shape.maxLength, width),
    finalInverse: allocate(shape.maxLength, 1),
    finalNormed: allocate(shape.maxLength, width),
    logits: allocate(shape.maxLength, BYTES),
    dx: allocate(shape.maxLength, width),
  };

  async function forward(text: Uint8Array, attention: Attention, signal: AbortSignal): Promise<ForwardPass> {
    const rows = text.length;
    const kept = buffers.layers.map((activations) => cut(activations, rows));
    const final = firstRows(buffers.final, rows);
    const finalInverse = firstRows(buffers.finalInverse, rows);
    const finalNormed = firstRows(buffers.finalNormed, rows);
    const scores = firstRows(buffers.logits, rows);

    embed(text, embedding.value, kept[0]?.input ?? final);
    const calls: AttentionCall[] = [];
    for (const [index, layer] of layers.entries()) {
      const output = kept[index + 1]?.input ?? final;
      calls.push(await forwardLayer(tools, layer, kept[index]!, output, attention, signal));
    }
    rmsNorm(final, finalNorm.value, finalNormed, finalInverse);
    await products.forward(finalNormed, logits.value, scores);
    const loss = crossEntropy(scores, text);

    async function backward(): Promise<readonly AttentionReport[]> {
      for (const { gradient } of parameters) gradient.data.fill(0);
      const scratch = cut(buffers.scratch, rows);
      const dx = firstRows(buffers.dx, rows);
      dx.data.fill(0);
      // crossEntropy left the gradient of the logits in their place.
      await products.backwardWeight(finalNormed, scores, logits.gradient);
      await products.backwardInput(scores, logits.value, scratch.dNormed);
      rmsNormBackward(final, finalNorm.value, finalInverse, scratch.dNormed, dx, finalNorm.gradient);
      const reports = calls.map((call) => call.report);
      for (let index = layers.length - 1; index >= 0; index--) {
        const [layer, activations, call] = [layers[index]!, kept[index]!, calls[index]!];
        reports.push(await backwardLayer(tools, layer, activations, scratch, dx, call, signal));
      }
      embedBackward(text, dx, embedding.gradient);
      return reports;
    }

    return { loss, backward };
  }

  return { parameters, forward };
}
