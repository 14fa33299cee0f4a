import { encodeFields, field, isFields, type Field, type Fields } from './wire-fields.js';

const INTEGERS = [0n, 1n, 2n, 3n, 7n, 64n, 255n, 65_535n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n];
const LARGE_INTEGERS = [2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
const DOUBLES = [0, -0, 1, -1, 0.5, 1e-300, 1e300, Infinity, -Infinity, NaN];
const STRINGS = ['', 'x', '\0', '127.0.0.1:1', 'a/b c%d', '{"never":1}', 'ü'.repeat(300), 'y'.repeat(5000)];
/** One message in so many is also changed as bytes, which seldom leaves a message. */
const BYTE_CHANGES_IN = 6;

export type Random = () => number;

/**
 * A valid message changed in one to three places: values on the edges of their types, fields that are missing, doubled,
 * renamed, moved, nested or of another type; now and then bytes too. `Random` decides everything.
 */
export function mutate(seed: Fields, random: Random): Buffer {
  let fields = seed;
  for (let changes = 1 + below(random, 3); changes > 0; changes--) fields = changed(fields, random);
  const bytes = encodeFields(fields);
  return below(random, BYTE_CHANGES_IN) === 0 ? changedBytes(bytes, random) : bytes;
}

function changed(fields: Fields, random: Random): Fields {
  if (fields.length === 0) return [field(1 + below(random, 20), otherValue(random))];
  const at = below(random, fields.length);
  const chosen = fields[at]!;
  const replaced = (...by: readonly Field[]): Fields => [
    ...fields.slice(0, at),
    ...by,
    ...fields.slice(at + 1),
  ];
  const { number, value } = chosen;
  // Deeper first: most fields are in messages inside.
  if (isFields(value) && value.length > 0 && below(random, 4) > 0) {
    return replaced(field(number, changed(value, random)));
  }
  switch (below(random, 10)) {
    case 0:
      return replaced();
    case 1:
      return replaced(chosen, chosen);
    case 2:
      return replaced(...Array.from({ length: below(random, 40) }, () => chosen));
    case 3:
      return replaced(field(1 + below(random, 24), value));
    case 4: {
      const [other] = fields.slice(below(random, fields.length));
      return replaced(other!);
    }
    case 5:
      return [...fields].reverse();
    case 6:
      return below(random, 4) === 0 ? replaced(field(number, otherValue(random))) : replaced();
    default:
      return replaced(field(number, sameKind(value, random)));
  }
}

/** Another value that is written the same way. */
function sameKind(value: Field['value'], random: Random): Field['value'] {
  if (typeof value === 'bigint') {
    if (below(random, 3) === 0) return value + BigInt(below(random, 5)) - 2n;
    return oneOf(below(random, 4) === 0 ? LARGE_INTEGERS : INTEGERS, random);
  }
  if (typeof value === 'number') return oneOf(DOUBLES, random);
  if (typeof value === 'string') return oneOf(STRINGS, random);
  if (isFields(value)) return [];
  return Buffer.alloc(below(random, 2 * value.length + 2), below(random, 256));
}

function otherValue(random: Random): Field['value'] {
  return oneOf<Field['value']>(
    [1n, 2n ** 64n - 1n, NaN, 'text', Buffer.alloc(3), [field(1, 1n)], []],
    random,
  );
}

function changedBytes(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length === 0) return Buffer.from([below(random, 256)]);
  const at = below(random, copy.length);
  if (below(random, 2) === 0) return copy.subarray(0, at);
  copy[at] = below(random, 256);
  return copy;
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function oneOf<T>(list: readonly T[], random: Random): T {
  return list[below(random, list.length)]!;
}
