import { fileURLToPath } from 'node:url';
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';

// What a coordinator and a rank say to each other, read by the proto files alone.

const definitions = loadSync('ulysses/v1/rank.proto', {
  includeDirs: [fileURLToPath(new URL('../../proto/', import.meta.url))],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});

export interface StockCommand {
  /** Name of the field; absent without one. */
  readonly command?: string;
  readonly term: number;
}

export interface StockEvent {
  readonly event?: string;
  readonly vote?: { readonly refusal: { readonly code: string; readonly message: string } | null };
}

/** A StepsRequest; null for bytes that are none. */
export function commandOf(bytes: Buffer): StockCommand | null {
  try {
    return parsed('StepsRequest', bytes) as StockCommand;
  } catch {
    return null;
  }
}

/** A StepsResponse in words: the name of its field, for a vote `yes` or why not. */
export function eventOf(bytes: Buffer): string {
  const { event = 'nothing', vote } = parsed('StepsResponse', bytes) as StockEvent;
  if (event !== 'vote') return event;
  const refusal = vote?.refusal ?? null;
  return refusal === null ? 'yes' : `${refusal.code}: ${refusal.message}`;
}

function parsed(name: string, bytes: Buffer): object {
  return (definitions[`ulysses.v1.${name}`] as MessageTypeDefinition<object, object>).deserialize(bytes);
}
