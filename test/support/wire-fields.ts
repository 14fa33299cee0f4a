/** A protobuf message as its fields in order, each with what it holds; no schema. */
export type Fields = readonly Field[];
export interface Field {
  readonly number: number;
  readonly value: bigint | number | string | Uint8Array | Fields;
}

/** A field: bigint is a varint, number a double, an array a message. */
export const field = (number: number, value: Field['value']): Field => ({ number, value });

const VARINT = 0;
const DOUBLE = 1;
const DELIMITED = 2;

export function encodeFields(fields: Fields): Buffer {
  return Buffer.concat(
    fields.flatMap(({ number, value }) => {
      const tag = (type: number): Buffer => varint((BigInt(number) << 3n) | BigInt(type));
      if (typeof value === 'bigint') return [tag(VARINT), varint(value)];
      if (typeof value === 'number') {
        const bytes = Buffer.alloc(8);
        bytes.writeDoubleLE(value);
        return [tag(DOUBLE), bytes];
      }
      const bytes =
        typeof value === 'string' ? Buffer.from(value) : isFields(value) ? encodeFields(value) : value;
      return [tag(DELIMITED), varint(BigInt(bytes.length)), bytes];
    }),
  );
}

export function isFields(value: Field['value']): value is Fields {
  return Array.isArray(value);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return Buffer.from([...bytes, Number(rest)]);
}
