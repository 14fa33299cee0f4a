import { fieldError } from '@ulysses/errors';

/** @throws SHAPE_MISMATCH unless `value` is an integer from `min` to `max` */
export function requireInteger(
  field: string,
  value: number,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`;
  throw fieldError('SHAPE_MISMATCH', field, value, expected);
}

/** @throws SHAPE_MISMATCH naming the first entry that is not an integer from `min` to `max` */
export function requireIntegers(field: string, values: readonly number[], min: number, max?: number): void {
  values.forEach((value, index) => {
    requireInteger(`${field}[${index}]`, value, min, max);
  });
}
