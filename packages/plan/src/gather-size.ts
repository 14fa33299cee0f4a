import { UlyssesError, fieldError } from '@ulysses/errors';
import type { Layout } from '@ulysses/tensor';
import { requireIntegers } from './require-integer.js';
import { sumOf } from './split-sizes.js';

/** What a calculator may look at. */
export interface GatherSizeInput {
  /** Which extent is asked for. When s_q = s_kv there is one call, for `q`, and its answer serves both. */
  readonly tensor: 'q' | 'kv';
  /** Rows of every sequence owner's shard, in owner order. */
  readonly shardRows: readonly number[];
  /** Length of each sample of the batch, or null. */
  readonly attentionMaskLengths: readonly number[] | null;
  /** Last dimension of the batch's attention-mask tensor, or null. */
  readonly attentionMaskExtent: number | null;
  readonly layout: Layout;
  /** The caller's own arguments, untouched. */
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/**
 * Says how many rows the gather dimension has after the all-to-all; null means aligned. A calculator of one's own:
 *
 *     class FromKwargs implements GatherSizeCalculator {
 *       calculate({ kwargs }: GatherSizeInput) {
 *         return typeof kwargs.gather_size === 'number' ? kwargs.gather_size : null;
 *       }
 *     }
 *
 * A result below the shards' sum means that the tail rows are padding and are not exchanged.
 */
export interface GatherSizeCalculator {
  calculate(input: GatherSizeInput): number | null | Promise<number | null>;
}

/** Aligned: every shard has the same rows and heads divide by cp_size; anything else is refused. */
export class DefaultGatherSizeCalculator implements GatherSizeCalculator {
  calculate(): null {
    return null;
  }
}

/**
 * The sequence length of the current batch's attention mask: the mask's last dimension if there is a mask tensor; the
 * sum (packed layout) or the maximum (padded layouts) of the lengths if there are lengths; else every row there is.
 */
export class DynamicGatherSizeCalculator implements GatherSizeCalculator {
  calculate({ shardRows, attentionMaskLengths, attentionMaskExtent, layout }: GatherSizeInput): number {
    if (attentionMaskExtent !== null) return attentionMaskExtent;
    if (attentionMaskLengths === null) return sumOf(shardRows);
    requireIntegers('attentionMaskLengths', attentionMaskLengths, 0);
    return layout === 'thd' ? sumOf(attentionMaskLengths) : Math.max(0, ...attentionMaskLengths);
  }
}

/**
 * Asks a calculator and checks its answer.
 *
 * @throws SHAPE_MISMATCH naming the calculator, its value and what was expected, also when it throws
 */
export async function resolveGatherSize(
  calculator: GatherSizeCalculator,
  input: GatherSizeInput,
): Promise<number | null> {
  const name = calculatorName(calculator);
  let gatherSize: unknown;
  try {
    gatherSize = await calculator.calculate(input);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    const message = `${name} failed for tensor ${input.tensor}: ${reason}; expected a gather size or null`;
    const details = {
      calculator: name,
      field: 'gatherSize',
      value: reason,
      expected: 'a gather size or null',
    };
    throw new UlyssesError('SHAPE_MISMATCH', message, { ...details, tensor: input.tensor }, thrown);
  }
  return checkGatherSize(name, gatherSize, input);
}

function checkGatherSize(
  calculator: string,
  gatherSize: unknown,
  { tensor, shardRows }: GatherSizeInput,
): number | null {
  const rows = sumOf(shardRows);
  if (rows === 0) {
    throw fieldError('SHAPE_MISMATCH', `rows of all ${tensor} shards`, rows, 'at least 1', {
      calculator,
      tensor,
    });
  }
  if (gatherSize === null) return null;
  if (
    typeof gatherSize === 'number' &&
    Number.isInteger(gatherSize) &&
    gatherSize >= 1 &&
    gatherSize <= rows
  ) {
    return gatherSize;
  }
  const field = `gather size of ${calculator} for tensor ${tensor}`;
  const expected = `null or an integer from 1 to ${rows}, the rows of all shards`;
  throw fieldError('SHAPE_MISMATCH', field, gatherSize, expected, { calculator, tensor });
}

function calculatorName(calculator: GatherSizeCalculator): string {
  // The namespace of a module that exports `calculate` has no constructor.
  const name = (calculator.constructor as { readonly name: string } | undefined)?.name ?? '';
  return name === '' || name === 'Object' ? 'the custom gather size calculator' : name;
}
