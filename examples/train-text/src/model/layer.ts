import type { Attention, AttentionCall, AttentionReport, HeadShape } from '../attention/attention.js';
import { normWeight, randomMatrix, type Parameter } from './parameter.js';
import type { Products } from './products.js';
import type { Random } from './random.js';
import { rmsNorm, rmsNormBackward } from './rms-norm.js';
import type { Rotary } from './rotary.js';
import { swiglu, swigluBackward } from './swiglu.js';
import { allocate, firstRows, type Tensor } from './tensor.js';

/** w: width; f: width of the MLP. Matrices are [in, out]. */
export interface LayerParameters {
  readonly attentionNorm: Parameter;
  readonly query: Parameter;
  readonly key: Parameter;
  readonly value: Parameter;
  readonly attentionOut: Parameter;
  readonly mlpNorm: Parameter;
  readonly gate: Parameter;
  readonly up: Parameter;
  readonly down: Parameter;
}

export interface LayerShape extends HeadShape {
  readonly width: number;
  readonly mlpWidth: number;
  /** Standard deviation of the projections that write to the residual stream. */
  readonly residualDeviation: number;
}

export function createLayer(name: string, shape: LayerShape, random: Random): LayerParameters {
  const { width, mlpWidth, residualDeviation } = shape;
  const [qWidth, kvWidth] = [shape.heads * shape.headSize, shape.kvHeads * shape.headSize];
  const projection = (part: string, rows: number, columns: number): Parameter =>
    randomMatrix(`${name}.${part}`, rows, columns, 1 / Math.sqrt(rows), random);
  return {
    attentionNorm: normWeight(`${name}.attentionNorm`, width),
    query: projection('query', width, qWidth),
    key: projection('key', width, kvWidth),
    value: projection('value', width, kvWidth),
    attentionOut: randomMatrix(`${name}.attentionOut`, qWidth, width, residualDeviation, random),
    mlpNorm: normWeight(`${name}.mlpNorm`, width),
    gate: projection('gate', width, mlpWidth),
    up: projection('up', width, mlpWidth),
    down: randomMatrix(`${name}.down`, mlpWidth, width, residualDeviation, random),
  };
}

/** What one layer keeps from its forward pass for its backward pass. Each has one row per byte of text. */
export interface LayerActivations {
  readonly input: Tensor;
  readonly attentionInverse: Tensor;
  readonly attentionNormed: Tensor;
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly attended: Tensor;
  readonly middle: Tensor;
  readonly mlpInverse: Tensor;
  readonly mlpNormed: Tensor;
  readonly gate: Tensor;
  readonly up: Tensor;
  readonly hidden: Tensor;
}

export function allocateActivations(shape: LayerShape, rows: number): LayerActivations {
  const { width, mlpWidth } = shape;
  const [qWidth, kvWidth] = [shape.heads * shape.headSize, shape.kvHeads * shape.headSize];
  return {
    input: allocate(rows, width),
    attentionInverse: allocate(rows, 1),
    attentionNormed: allocate(rows, width),
    q: allocate(rows, qWidth),
    k: allocate(rows, kvWidth),
    v: allocate(rows, kvWidth),
    attended: allocate(rows, qWidth),
    middle: allocate(rows, width),
    mlpInverse: allocate(rows, 1),
    mlpNormed: allocate(rows, width),
    gate: allocate(rows, mlpWidth),
    up: allocate(rows, mlpWidth),
    hidden: allocate(rows, mlpWidth),
  };
}

/** Gradients that live only within one layer's backward pass; all layers share them. */
export interface LayerScratch {
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  readonly dAttended: Tensor;
  readonly dNormed: Tensor;
  readonly dHidden: Tensor;
}

export function allocateScratch(shape: LayerShape, rows: number): LayerScratch {
  const [qWidth, kvWidth] = [shape.heads * shape.headSize, shape.kvHeads * shape.headSize];
  return {
    dq: allocate(rows, qWidth),
    dk: allocate(rows, kvWidth),
    dv: allocate(rows, kvWidth),
    dAttended: allocate(rows, qWidth),
    dNormed: allocate(rows, shape.width),
    dHidden: allocate(rows, shape.mlpWidth),
  };
}

/** The first `rows` rows of every buffer. */
export function cut<T extends { readonly [name in keyof T]: Tensor }>(buffers: T, rows: number): T {
  return Object.fromEntries(
    Object.entries<Tensor>(buffers).map(([name, tensor]) => [name, firstRows(tensor, rows)]),
  ) as T;
}

/** What every layer computes with. */
export interface LayerTools {
  readonly products: Products;
  readonly rotary: Rotary;
}

/** output = middle + mlp(middle), where middle = input + attention(input); output [s, w]. */
export async function forwardLayer(
  tools: LayerTools,
  layer: LayerParameters,
  kept: LayerActivations,
  output: Tensor,
  attention: Attention,
  signal: AbortSignal,
): Promise<AttentionCall> {
  const { products, rotary } = tools;
  const { q, k, v } = kept;
  rmsNorm(kept.input, layer.attentionNorm.value, kept.attentionNormed, kept.attentionInverse);
  await products.forward(kept.attentionNormed, layer.query.value, q);
  await products.forward(kept.attentionNormed, layer.key.value, k);
  await products.forward(kept.attentionNormed, layer.value.value, v);
  rotary.forward(q);
  rotary.forward(k);
  const call = await attention.forward({ q, k, v }, kept.attended, signal);
  kept.middle.data.set(kept.input.data);
  await products.forward(kept.attended, layer.attentionOut.value, kept.middle, 'add');

  rmsNorm(kept.middle, layer.mlpNorm.value, kept.mlpNormed, kept.mlpInverse);
  await products.forward(kept.mlpNormed, layer.gate.value, kept.gate);
  await products.forward(kept.mlpNormed, layer.up.value, kept.up);
  swiglu(kept.gate, kept.up, kept.hidden);
  output.data.set(kept.middle.data);
  await products.forward(kept.hidden, layer.down.value, output, 'add');
  return call;
}

/**
 * Writes the gradients of the layer's parameters and turns `dx` [s, w], the gradient of its output, into that of
 * its input. Uses up `kept`.
 */
export async function backwardLayer(
  tools: LayerTools,
  layer: LayerParameters,
  kept: LayerActivations,
  scratch: LayerScratch,
  dx: Tensor,
  call: AttentionCall,
  signal: AbortSignal,
): Promise<AttentionReport> {
  const { products, rotary } = tools;
  const { dq, dk, dv, dAttended, dNormed, dHidden } = scratch;
  await products.backwardWeight(kept.hidden, dx, layer.down.gradient);
  await products.backwardInput(dx, layer.down.value, dHidden);
  swigluBackward(dHidden, kept.gate, kept.up);
  const [dGate, dUp] = [kept.gate, kept.up];
  await products.backwardWeight(kept.mlpNormed, dGate, layer.gate.gradient);
  await products.backwardWeight(kept.mlpNormed, dUp, layer.up.gradient);
  await products.backwardInput(dGate, layer.gate.value, dNormed);
  await products.backwardInput(dUp, layer.up.value, dNormed, 'add');
  rmsNormBackward(kept.middle, layer.mlpNorm.value, kept.mlpInverse, dNormed, dx, layer.mlpNorm.gradient);

  await products.backwardWeight(kept.attended, dx, layer.attentionOut.gradient);
  await products.backwardInput(dx, layer.attentionOut.value, dAttended);
  const report = await call.backward(dAttended, { dq, dk, dv }, signal);
  rotary.backward(dq);
  rotary.backward(dk);
  await products.backwardWeight(kept.attentionNormed, dq, layer.query.gradient);
  await products.backwardWeight(kept.attentionNormed, dk, layer.key.gradient);
  await products.backwardWeight(kept.attentionNormed, dv, layer.value.gradient);
  await products.backwardInput(dq, layer.query.value, dNormed);
  await products.backwardInput(dk, layer.key.value, dNormed, 'add');
  await products.backwardInput(dv, layer.value.value, dNormed, 'add');
  const { attentionNorm } = layer;
  rmsNormBackward(
    kept.input,
    attentionNorm.value,
    kept.attentionInverse,
    dNormed,
    dx,
    attentionNorm.gradient,
  );
  return report;
}
