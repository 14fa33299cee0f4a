import { fileURLToPath } from 'node:url';
import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import {
  loadSync,
  type MessageTypeDefinition,
  type Options,
  type PackageDefinition,
} from '@grpc/proto-loader';
import { FILE_DESCRIPTORS } from './generated/file-descriptors.js';
import type { ProtoGrpcType as RankTypes } from './generated/rank.js';
import type { ProtoGrpcType as RendezvousTypes } from './generated/rendezvous.js';
import { integerCheck } from './integer-check.js';
import type { Codec } from './method.js';

type Messages = RankTypes['ulysses']['v1'] & RendezvousTypes['ulysses']['v1'];
/** Names of the messages in proto/ulysses/v1 that the control plane uses. */
export type MessageName = {
  [Name in keyof Messages]: Messages[Name] extends MessageTypeDefinition<never, unknown> ? Name : never;
}[keyof Messages];
/** What protobuf accepts for a message: absent fields and enum numbers are allowed. */
export type WireInput<Name extends MessageName> =
  Messages[Name] extends MessageTypeDefinition<infer In, unknown> ? In : never;
/** What protobuf hands out: every field but `optional` and oneof ones is there; absent messages are null. */
export type WireOutput<Name extends MessageName> =
  Messages[Name] extends MessageTypeDefinition<never, infer Out> ? Out : never;

export const PACKAGE = 'ulysses.v1';
const PROTO_ROOT = fileURLToPath(new URL('../../../proto/', import.meta.url));
const SERVICES = ['coordinator', 'rank', 'rendezvous'].map((name) => `ulysses/v1/${name}.proto`);

// Numbers, not Long objects: integer-check.ts refuses what a number cannot hold. An absent `optional` field stays absent.
const OPTIONS: Options = {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
  includeDirs: [PROTO_ROOT],
};

/** Everything in proto/ulysses/v1 that the control plane uses, as descriptors. */
export const packageDefinition: PackageDefinition = loadSync(SERVICES, OPTIONS);

/** Every file of ours and the standard health service, exactly as compiled: what server reflection answers from. */
export function reflectedDefinition(): PackageDefinition {
  const fileDescriptorProtos = FILE_DESCRIPTORS.map((file) => Buffer.from(file, 'base64'));
  return { files: { format: 'Protocol Buffer 3 EnumDescriptorProto', type: {}, fileDescriptorProtos } };
}

/** Largest control message, either way. A plan over 1024 ranks and 100,000 packed samples takes about 1 MiB. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/**
 * Bytes of one message type. Both ways refuse integers that would wrap or lose digits: beyond 2^53 - 1, and on
 * encoding also fractions, negative numbers and more than 32 bits in a 32-bit field, and messages beyond the size limit.
 */
export function wireCodec<Name extends MessageName>(
  name: Name,
): { encode(message: WireInput<Name>): Buffer; decode(bytes: Buffer): WireOutput<Name> } {
  const found: unknown = packageDefinition[`${PACKAGE}.${name}`];
  const definition = found as MessageTypeDefinition<WireInput<Name>, WireOutput<Name>>;
  const checkIntegers = integerCheck(packageDefinition, `${PACKAGE}.${name}`);
  return {
    encode(message) {
      checkIntegers(message, name);
      const bytes = definition.serialize(message);
      if (bytes.length > MAX_MESSAGE_BYTES) {
        const expected = `at most ${MAX_MESSAGE_BYTES} bytes`;
        throw fieldError('SHAPE_MISMATCH', `size of ${name}`, bytes.length, expected);
      }
      return bytes;
    },
    decode(bytes) {
      const message = parse(definition, bytes, name);
      checkIntegers(message, name);
      return message;
    },
  };
}

/**
 * A codec for the domain type `T` that travels as the message `name`. Values do not change, and one of them, such as a plan, may go to
 * every rank: it is encoded once.
 */
export function messageCodec<T extends object, Name extends MessageName>(
  name: Name,
  toProto: (value: T) => WireInput<Name>,
  fromProto: (message: WireOutput<Name>, path: string) => T,
): Codec<T> {
  const wire = wireCodec(name);
  const encoded = new WeakMap<T, Buffer>();
  return {
    encode(value) {
      const known = encoded.get(value);
      if (known !== undefined) return known;
      const bytes = wire.encode(toProto(value));
      encoded.set(value, bytes);
      return bytes;
    },
    decode: (bytes) => fromProto(wire.decode(bytes), name),
  };
}

function parse<Out>(definition: MessageTypeDefinition<never, Out>, bytes: Buffer, name: string): Out {
  try {
    return definition.deserialize(bytes);
  } catch (thrown) {
    const { message } = toUlyssesError(thrown);
    throw new UlyssesError(
      'SHAPE_MISMATCH',
      `${name} is ${bytes.length} bytes that do not decode (${message}), expected a ${PACKAGE}.${name}`,
      { field: name, value: `${bytes.length} bytes`, expected: `a ${PACKAGE}.${name}` },
      thrown,
    );
  }
}
