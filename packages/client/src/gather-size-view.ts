import { fieldError } from '@ulysses/errors';
import {
  askGatherSize,
  calculatorName,
  DefaultGatherSizeCalculator,
  DynamicGatherSizeCalculator,
  type GatherSizeCalculator,
} from '@ulysses/plan';
import type { StepView } from '@ulysses/rpc';
import type { CallOptions } from './attention-options.js';
import type { TensorView } from './tensor-view.js';

/** What a view says about how long the gathered sequence is. */
type GatherSizeView = Pick<
  StepView,
  'gatherSizeCalculator' | 'clientCalculator' | 'gatherSizeQ' | 'gatherSizeKv' | 'calculatorArguments'
>;

/**
 * The coordinator finds the gather sizes, unless the calculator is one of the caller's own: that one runs here, and the
 * coordinator, which knows the shards of all owners, checks its answers against them.
 *
 * @throws SHAPE_MISMATCH naming the calculator, its value and what was expected, also when it throws
 */
export async function gatherSizeView(
  calculator: GatherSizeCalculator | null,
  q: TensorView,
  k: TensorView,
  call: CallOptions,
): Promise<GatherSizeView> {
  const byName = nameOfKnown(calculator);
  if (calculator === null || byName !== null) {
    return {
      gatherSizeCalculator: byName,
      clientCalculator: null,
      gatherSizeQ: null,
      gatherSizeKv: null,
      calculatorArguments: call.kwargs === undefined ? null : argumentsText(call.kwargs),
    };
  }
  const answer = (tensor: 'q' | 'kv', { extents }: TensorView): Promise<number | null> =>
    askGatherSize(calculator, {
      tensor,
      shardRows: [extents.rows],
      attentionMaskLengths: call.attentionMaskLengths ?? null,
      attentionMaskExtent: call.attentionMaskExtent ?? call.attentionMask?.shape.at(-1) ?? null,
      layout: extents.layout,
      kwargs: call.kwargs ?? {},
    });
  const gatherSizeQ = await answer('q', q);
  const gatherSizeKv = q.extents.rows === k.extents.rows ? gatherSizeQ : await answer('kv', k);
  return {
    gatherSizeCalculator: null,
    clientCalculator: calculatorName(calculator),
    gatherSizeQ,
    gatherSizeKv,
    // They have reached the calculator that they are for, and need not be what JSON can say.
    calculatorArguments: null,
  };
}

function nameOfKnown(calculator: GatherSizeCalculator | null): 'default' | 'dynamic' | null {
  if (calculator instanceof DefaultGatherSizeCalculator) return 'default';
  return calculator instanceof DynamicGatherSizeCalculator ? 'dynamic' : null;
}

/** As JSON text, for a calculator in the coordinator; refused when that would not be what the caller gave. */
function argumentsText(kwargs: Readonly<Record<string, unknown>>): string {
  const refuse = (name: string, value: unknown): Error => {
    const expected = 'what JSON can say, to reach a calculator in the coordinator untouched';
    return fieldError('SHAPE_MISMATCH', name, value, expected);
  };
  let text: string;
  try {
    text = JSON.stringify(kwargs, (name, value: unknown) => {
      if (sayable(value)) return value;
      throw refuse(`kwargs.${name}`, value);
    });
  } catch (thrown) {
    // A circle, or a toJSON of the caller's that throws.
    throw thrown instanceof TypeError ? refuse('kwargs', kwargs) : thrown;
  }
  return text;
}

function sayable(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  return typeof value !== 'bigint' && typeof value !== 'function' && typeof value !== 'symbol';
}
