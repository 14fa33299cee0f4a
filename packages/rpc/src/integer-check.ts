import { fieldError, invariant } from '@ulysses/errors';
import type { MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader';

/** The parts of a FieldDescriptorProto that matter here. proto-loader writes the name in camelCase, the type relative. */
interface FieldDescriptor {
  readonly name: string;
  readonly type: string;
  readonly typeName?: string;
}

interface MessageDescriptor {
  readonly field?: readonly FieldDescriptor[];
  readonly nestedType?: readonly { readonly name: string }[];
}

type Check = (message: unknown, path: string) => void;

/** Largest value that each integer type may carry: what a JavaScript number holds exactly. */
const LIMITS: Readonly<Record<string, number>> = {
  TYPE_UINT32: 2 ** 32 - 1,
  TYPE_UINT64: Number.MAX_SAFE_INTEGER,
};

/**
 * Builds a function that walks one message and throws SHAPE_MISMATCH at the first integer that is not exactly
 * representable. protobufjs itself wraps or rounds without a word. Decoding a too large uint64 gives at least 2^53,
 * never a smaller number, so looking at the result is enough.
 */
export function integerCheck(definitions: PackageDefinition, messageName: string): Check {
  return compile(definitions, messageName, new Map());
}

function compile(definitions: PackageDefinition, messageName: string, known: Map<string, Check>): Check {
  const ready = known.get(messageName);
  if (ready !== undefined) return ready;
  const definition = definitions[messageName] as MessageTypeDefinition<object, object> | undefined;
  invariant(definition !== undefined, `${messageName} is not in proto/ulysses/v1`);
  const checks: (readonly [field: string, check: Check])[] = [];
  // Known before it is complete: a message may contain itself.
  const check: Check = (message, path) => {
    const fields = message as Readonly<Record<string, unknown>>;
    for (const [field, checkField] of checks) {
      const value = fields[field];
      if (value === undefined || value === null) continue;
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) checkField(value[i], `${path}.${field}[${i}]`);
      } else checkField(value, `${path}.${field}`);
    }
  };
  known.set(messageName, check);
  for (const field of (definition.type as MessageDescriptor).field ?? []) {
    const checkField = fieldCheck(definitions, messageName, field, known);
    if (checkField !== null) checks.push([field.name, checkField]);
  }
  return check;
}

function fieldCheck(
  definitions: PackageDefinition,
  messageName: string,
  field: FieldDescriptor,
  known: Map<string, Check>,
): Check | null {
  const limit = LIMITS[field.type];
  if (limit !== undefined) return integerWithin(limit);
  if (field.type !== 'TYPE_MESSAGE' || field.typeName === undefined) {
    const harmless = ['TYPE_STRING', 'TYPE_DOUBLE', 'TYPE_BOOL', 'TYPE_ENUM', 'TYPE_BYTES'].includes(
      field.type,
    );
    invariant(
      harmless,
      `${messageName}.${field.name} has type ${field.type}, which integer-check.ts does not know`,
    );
    return null;
  }
  // Entries of a map field are nested types without a definition of their own; ours map strings to strings.
  if (nestedTypes(definitions, messageName).includes(field.typeName)) return null;
  const scope = messageName.slice(0, messageName.lastIndexOf('.'));
  const typeName = field.typeName.startsWith('.') ? field.typeName.slice(1) : `${scope}.${field.typeName}`;
  return compile(definitions, typeName, known);
}

function nestedTypes(definitions: PackageDefinition, messageName: string): readonly string[] {
  const { type } = definitions[messageName] as MessageTypeDefinition<object, object>;
  return ((type as MessageDescriptor).nestedType ?? []).map(({ name }) => name);
}

function integerWithin(limit: number): Check {
  const expected = `an integer from 0 to ${limit}`;
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > limit) {
      throw fieldError('SHAPE_MISMATCH', path, value, expected);
    }
  };
}
