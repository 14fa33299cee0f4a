import { fileURLToPath } from 'node:url';
import {
  Client,
  credentials,
  Metadata,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

// grpc-js and the proto files as they are: no code of the product between a call here and the wire.

const PROTO_ROOT = fileURLToPath(new URL('../../proto/', import.meta.url));
const FILES = ['ulysses/v1/coordinator.proto', 'ulysses/v1/tensor_plane.proto'];
const definitions = loadSync(FILES, {
  includeDirs: [PROTO_ROOT],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});

export interface StockKey {
  readonly job: string;
  readonly session: string;
  readonly call: number;
  readonly pass: 'PASS_FORWARD' | 'PASS_BACKWARD';
  readonly attempt: number;
}

export interface StockParty {
  readonly role: 'ROLE_RANK' | 'ROLE_OWNER';
  readonly index: number;
}

export interface StockSlice {
  readonly epoch: number;
  readonly step: StockKey;
  readonly source: StockParty;
  readonly destination: StockParty;
  readonly tensor: string;
  readonly segment: number;
  readonly offsetBytes: number;
  readonly segmentBytes: number;
  readonly payload: Buffer;
}

export interface StockAck {
  readonly epoch: number;
  readonly step: StockKey;
  readonly source: StockParty;
  readonly destination: StockParty;
  readonly bytes: number;
  readonly error?: { readonly code: string; readonly message: string } | null;
}

export interface StockPlanned {
  readonly epoch: number;
  readonly attempt: number;
  readonly plan: {
    readonly planId: string;
    readonly cpSize: number;
    readonly spec: {
      readonly qSplits: number[];
      readonly kvSplits: number[];
      readonly strategy: 'STRATEGY_HEADS' | 'STRATEGY_BALANCED';
      readonly scale: number;
    };
    readonly cuts: number[];
  };
  readonly ranks: readonly { readonly index: number; readonly tensorAddress: string }[];
}

export type StockUpdate =
  { readonly update: 'planned'; readonly planned: StockPlanned } | { readonly update: 'committed' };

export type PushCall = ClientDuplexStream<{ slice: StockSlice }, { ack: StockAck | null }>;
export type PullCall = ClientDuplexStream<{ ack: StockAck }, { slice: StockSlice | null }>;

/** One connection to an address. */
export class StockConnection {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure());
  }

  planStep(request: object, deadlineMs: number): ClientReadableStream<StockUpdate> {
    const { path, requestSerialize, responseDeserialize } = methodOf('CoordinatorService', 'PlanStep');
    const decode = (bytes: Buffer): StockUpdate => decoded(responseDeserialize(bytes)) as StockUpdate;
    const options = { deadline: Date.now() + deadlineMs };
    return this.#client.makeServerStreamRequest(path, requestSerialize, decode, request, options);
  }

  push(party: string): PushCall {
    return this.#stream('Push', party);
  }

  pull(party: string): PullCall {
    return this.#stream('Pull', party);
  }

  close(): void {
    this.#client.close();
  }

  #stream<In, Out>(name: string, party: string): ClientDuplexStream<In, Out> {
    const { path, requestSerialize, responseDeserialize } = methodOf('TensorPlaneService', name);
    const encode = (message: In): Buffer => requestSerialize(message);
    const decode = (bytes: Buffer): Out => decoded(responseDeserialize(bytes)) as Out;
    const metadata = new Metadata();
    metadata.set('ulysses-party', party);
    return this.#client.makeBidiStreamRequest(path, encode, decode, metadata);
  }
}

/** What the proto describes, by which the types above go. */
function decoded(message: unknown): unknown {
  return message;
}

function methodOf(service: string, method: string) {
  const found = (definitions[`ulysses.v1.${service}`] as ServiceDefinition | undefined)?.[method];
  if (found === undefined) throw new Error(`the proto has no ${service}.${method}`);
  return found;
}
