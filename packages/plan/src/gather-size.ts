import { UlyssesError, fieldError } from '@ulysses/errors';
import type { Layout } from '@ulysses/tensor';
import { requireIntegers } from './require-integer.js';
import { sumOf } from './split-sizes.js';

/** What a calculator may look at. */
export interface GatherSizeInput {
  /** Which extent is asked for. When s_q = s_kv there is one call, for `q`, and its answer serves both. */
  readonly tensor: 'q' | 'kv';
  /**
   * Rows of the shards that are known where the calculator runs. In the coordinator: every sequence owner's, in owner order.
   * In a client, which does not know the others': its own alone, so all of them only when it is the one owner.
   */
  readonly shardRows: readonly number[];
  /**
   * Length of each sample of the batch, or null. It is of keys, like the extent below: the coordinator has null for both
   * when it asks for q and there are other queries than keys.
   */
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
 * Asks a calculator where all shards are known, and checks its answer.
 *
 * @throws SHAPE_MISMATCH naming the calculator, its value and what was expected, also when it throws
 */
export async function resolveGatherSize(
  calculator: GatherSizeCalculator,
  input: GatherSizeInput,
): Promise<number | null> {
  return checkGatherSize(calculatorName(calculator), await ask(calculator, input), input);
}

/**
 * Asks a calculator where only one shard is known: whoever knows the others has to check the answer against their rows.
 *
 * @throws SHAPE_MISMATCH as `resolveGatherSize`
 */
export async function askGatherSize(
  calculator: GatherSizeCalculator,
  input: GatherSizeInput,
): Promise<number | null> {
  const answer = await ask(calculator, input);
  if (answer === null || isGatherSize(answer)) return answer;
  throw wrongAnswer(calculatorName(calculator), answer, input.tensor, 'null or a positive integer');
}

async function ask(calculator: GatherSizeCalculator, input: GatherSizeInput): Promise<unknown> {
  try {
    return await calculator.calculate(input);
  } catch (thrown) {
    const name = calculatorName(calculator);
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
}

/**
 * What `calculator` answered, checked against the rows of all shards.
 *
 * @throws SHAPE_MISMATCH naming the calculator, its value and what was expected
 */
export function checkGatherSize(
  calculator: string,
  gatherSize: unknown,
  { tensor, shardRows }: Pick<GatherSizeInput, 'tensor' | 'shardRows'>,
): number | null {
  const rows = sumOf(shardRows);
  if (rows === 0) {
    throw fieldError('SHAPE_MISMATCH', `rows of all ${tensor} shards`, rows, 'at least 1', {
      calculator,
      tensor,
    });
  }
  if (gatherSize === null || (isGatherSize(gatherSize) && gatherSize <= rows)) return gatherSize;
  const expected = `null or an integer from 1 to ${rows}, the rows of all shards`;
  throw wrongAnswer(calculator, gatherSize, tensor, expected);
}

function isGatherSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1;
}

function wrongAnswer(calculator: string, value: unknown, tensor: string, expected: string): UlyssesError {
  const field = `gather size of ${calculator} for tensor ${tensor}`;
  return fieldError('SHAPE_MISMATCH', field, value, expected, { calculator, tensor });
}

/** A calculator as errors name it: by its class. */
export function calculatorName(calculator: GatherSizeCalculator): string {
  // The namespace of a module that exports `calculate` has no constructor.
  const name = (calculator.constructor as { readonly name: string } | undefined)?.name ?? '';
  return name === '' || name === 'Object' ? 'the custom gather size calculator' : name;
}
