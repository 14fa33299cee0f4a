import { UlyssesError, fieldError } from '@ulysses/errors';
import {
  checkGatherSize,
  clipSplits,
  defaultStrategy,
  maskOfAll,
  paddingOf,
  requireAligned,
  resolveGatherSize,
  type GatherSizeInput,
  type OwnerMask,
  type Padding,
  type StepSpec,
} from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import type { Calculators } from './calculators.js';
import type { Alignment } from './kv-cache.js';

/** From what the owners said, in owner order, to the one spec that the plan follows from. */
export async function resolveSpec(
  owners: readonly StepView[],
  cpSize: number,
  calculators: Calculators,
  alignment: Alignment,
): Promise<{ readonly spec: StepSpec; readonly padding: Padding }> {
  const view = owners[0];
  if (view === undefined) throw new UlyssesError('INVARIANT', 'a step without owners');
  const q = owners.map(({ qRows }) => qRows);
  const kv = owners.map(({ kvRows }) => kvRows);
  const sameExtents = q.every((rows, owner) => rows === kv[owner]);
  const asManyAsKeys = total(q) === total(kv);
  // What an attention mask says is said of keys: other queries than these are whatever the shards hold.
  const queries = asManyAsKeys ? view : { ...view, attentionMaskLengths: null, attentionMaskExtent: null };
  const sizeOf = (tensor: 'q' | 'kv', rows: readonly number[]): Promise<number | null> =>
    alignment.byPolicy
      ? Promise.resolve(null)
      : gatherSize(tensor === 'q' ? queries : view, tensor, rows, calculators);
  const gatherSizeQ = await sizeOf('q', q);
  const gatherSizeKv = sameExtents ? gatherSizeQ : await sizeOf('kv', kv);
  if (gatherSizeQ === null || gatherSizeKv === null) {
    // Shards of an extent that has a gather size may be cut as they are.
    const qSplits = gatherSizeQ === null ? q : [];
    const kvSplits = gatherSizeKv === null ? kv : [];
    requireAligned({ qSplits, kvSplits, qHeads: view.qHeads }, cpSize, alignment.remedy);
  }
  const qSplits = gatherSizeQ === null ? q : clipSplits(q, gatherSizeQ);
  const kvSplits = gatherSizeKv === null ? kv : clipSplits(kv, gatherSizeKv);
  const ofKeys = view.attentionMaskLengths !== null && !asManyAsKeys;
  const padding = paddingOf(
    { shardRows: ofKeys ? kv : q, attentionMaskLengths: view.attentionMaskLengths, layout: view.layout },
    view.batch,
    total(ofKeys ? kvSplits : qSplits),
  );
  const spec: StepSpec = {
    dtype: view.dtype,
    layout: view.layout,
    batch: view.batch,
    qHeads: view.qHeads,
    kvHeads: view.kvHeads,
    headSize: view.headSize,
    qSplits,
    kvSplits,
    mask: maskOfAll(maskWithLengths(view, total(kvSplits), asManyAsKeys), total(qSplits), asManyAsKeys),
    scale: view.scale,
    strategy: view.strategy ?? defaultStrategy(view.qHeads, cpSize),
    weights: null,
  };
  return { spec, padding };
}

async function gatherSize(
  view: StepView,
  tensor: 'q' | 'kv',
  shardRows: readonly number[],
  calculators: Calculators,
): Promise<number | null> {
  const fromClient = tensor === 'q' ? view.gatherSizeQ : view.gatherSizeKv;
  if (view.clientCalculator !== null || fromClient !== null) {
    return checkGatherSize(view.clientCalculator ?? "the client's calculator", fromClient, {
      tensor,
      shardRows,
    });
  }
  const input: GatherSizeInput = {
    tensor,
    shardRows,
    attentionMaskLengths: view.attentionMaskLengths,
    attentionMaskExtent: view.attentionMaskExtent,
    layout: view.layout,
    kwargs: parseArguments(view.calculatorArguments),
  };
  return await resolveGatherSize(calculators.of(view), input);
}

function parseArguments(json: string | null): Record<string, unknown> {
  if (json === null) return {};
  try {
    const parsed: unknown = JSON.parse(json);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
      return parsed as Record<string, unknown>;
  } catch {
    // Falls through to the same refusal.
  }
  throw fieldError('SHAPE_MISMATCH', 'calculator_arguments_json', json, 'a JSON object');
}

/**
 * Lengths also say which rows are padding: keys beyond a sample's length are seen by nobody and rows there are not computed.
 * Packed lengths are segments. A mask that already says so itself is left alone.
 */
function maskWithLengths(view: StepView, sKv: number, asManyAsKeys: boolean): OwnerMask {
  const { mask, attentionMaskLengths: lengths } = view;
  if (lengths === null || mask.segments !== null || mask.validRanges !== null) return mask;
  if (view.layout === 'thd') {
    const cuSeqlens = [0];
    for (const length of lengths) cuSeqlens.push((cuSeqlens.at(-1) ?? 0) + length);
    if (!asManyAsKeys) {
      throw fieldError(
        'UNSUPPORTED',
        'attention_mask_lengths',
        lengths,
        'cu_seqlens for q and for kv when they differ',
      );
    }
    return { ...mask, segments: { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens } };
  }
  const kv = lengths.map((length) => ({ begin: 0, end: Math.min(length, sKv) }));
  if (kv.every(({ end }) => end === sKv)) return mask;
  return { ...mask, validRanges: { q: null, kv } };
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
