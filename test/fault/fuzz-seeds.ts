import type { Random } from '../support/mutate-fields.js';
import type { RawOutcome } from '../support/raw-grpc.js';
import { field, type Fields } from '../support/wire-fields.js';
import type { LiveStep } from './live-steps.js';

/** One RPC, valid messages for it, and how a call of it comes to its end. */
export interface FuzzedCall {
  readonly path: string;
  readonly seeds: readonly Fields[];
  /** Whether it ends by itself; if not, the first answer is enough. */
  readonly ends: boolean;
  /** Whether it is not the product's own code that decodes. @default false */
  readonly standard?: boolean;
  /** Whether every message is to be about a step of its own. @default false */
  readonly ownSessions?: boolean;
  /** By seed: valid messages that go before on its call. @default none */
  readonly before?: readonly (readonly Fields[])[];
  /** Valid messages that follow on every call. @default none */
  readonly after?: readonly Fields[];
  /** Calls at a time. @default 96 */
  readonly lanes?: number;
  /** Whether a message may be sent; others are drawn anew. @default all */
  readonly allowed?: (bytes: Buffer) => boolean;
  /** How a seed is changed. @default `mutate` */
  readonly mutate?: (seed: Fields, random: Random) => Buffer;
  /** Whether the message came as far as those of this call are to come, by how it ended. @default nobody looks */
  readonly reached?: (outcome: RawOutcome) => boolean;
  /** Of a step that runs: what goes before the mutated message on its call, and what that is made from. */
  readonly live?: (step: LiveStep) => {
    readonly before: readonly Fields[];
    readonly seeds: readonly Fields[];
  };
}

export const SERVICES = '/ulysses.v1.';
export const SESSION = 'session';
const STEP: Fields = [field(1, 'fuzz'), field(2, SESSION), field(3, 1n), field(4, 1n), field(5, 0n)];
const range = (begin: bigint, end: bigint): Fields => [field(1, begin), field(2, end)];
const ADDRESS: Fields = [field(1, 0n), field(2, 'member'), field(3, '127.0.0.1:1'), field(4, '127.0.0.1:1')];
const ERROR: Fields = [
  field(1, 'PEER_LOST'),
  field(2, 'gone'),
  field(3, [field(1, 'peer'), field(2, 'rank 0')]),
];

/** Rows, keys and heads of a small attention. */
const VIEW: Fields = [
  field(1, 1n),
  field(2, 1n),
  field(3, 2n),
  field(4, 5n),
  field(5, 1n),
  field(6, 8n),
  field(7, 9n),
  field(8, 9n),
  field(9, [
    field(2, 0n),
    field(5, range(0n, 9n)),
    field(5, range(0n, 4n)),
    field(6, range(0n, 9n)),
    field(6, range(1n, 4n)),
  ]),
  field(10, 0.5),
  field(12, 1n),
  field(13, 9n),
  field(13, 4n),
  field(17, 'dynamic'),
  field(19, 1n),
];
const PACKED_VIEW: Fields = [
  ...VIEW.filter(({ number }) => ![2, 3, 9, 13].includes(number)),
  field(2, 3n),
  field(3, 1n),
  field(9, [field(3, 0n), field(3, 4n), field(3, 9n), field(4, 0n), field(4, 4n), field(4, 9n)]),
  field(15, 9n),
  field(18, '{}'),
  field(22, 'mine'),
];
const EXCHANGE: Fields = [
  field(1, 1n),
  field(2, 6n),
  field(2, 4n),
  field(3, 1n),
  field(4, 0n),
  field(5, 6n),
  field(7, range(0n, 4n)),
  field(8, range(0n, 6n)),
  field(9, 'q'),
];
/** A step of its own for every seed: two contents of one step would be a mismatch. */
const stepOf = (call: bigint): Fields => STEP.map((each) => (each.number === 3 ? field(3, call) : each));
const planStep = (call: bigint, ...operation: Fields): Fields => [
  field(1, stepOf(call)),
  field(2, 0n),
  field(3, 1n),
  ...operation,
];

/** Everything on a coordinator's port that does not change who is in the cluster. */
export const STEP_CALLS: readonly FuzzedCall[] = [
  {
    path: `${SERVICES}CoordinatorService/PlanStep`,
    ends: false,
    ownSessions: true,
    seeds: [
      planStep(1n, field(4, VIEW)),
      planStep(2n, field(4, PACKED_VIEW), field(12, 1n)),
      planStep(3n, field(7, EXCHANGE)),
      planStep(4n, field(4, VIEW), field(5, STEP), field(6, 1n)),
    ],
  },
  { path: `${SERVICES}CoordinatorService/SettleStep`, ends: true, seeds: [[field(1, STEP), field(2, 0n)]] },
  { path: `${SERVICES}CoordinatorService/Release`, ends: true, seeds: [[field(1, STEP)]] },
  { path: `${SERVICES}CoordinatorService/WatchMembership`, ends: false, seeds: [[]] },
  { path: `${SERVICES}CoordinatorService/GetStatus`, ends: true, seeds: [[]] },
];

export const DRAIN: FuzzedCall = {
  path: `${SERVICES}CoordinatorService/Drain`,
  ends: true,
  seeds: [[field(1, 0n)]],
};

/** Everything that does: well-formed calls have their effect, so they go to a cluster of their own. */
export const MEMBERSHIP_CALLS: readonly FuzzedCall[] = [
  { path: `${SERVICES}CoordinatorService/Scale`, ends: true, seeds: [[field(1, 2n)]] },
  DRAIN,
  {
    path: `${SERVICES}RendezvousService/Join`,
    ends: true,
    seeds: [[...ADDRESS.slice(1).map((each) => field(each.number - 1, each.value)), field(4, '1')]],
  },
  {
    path: `${SERVICES}RendezvousService/Renew`,
    ends: true,
    seeds: [[field(1, 'member'), field(2, 0n), field(3, 1n)]],
  },
  { path: `${SERVICES}RendezvousService/Leave`, ends: true, seeds: [[field(1, 'member')]] },
  { path: `${SERVICES}RendezvousService/Revoke`, ends: true, seeds: [[field(1, 'member')]] },
];

/** A rank's control port, beside the commands of `commandCall`. */
export const RANK_CALLS: readonly FuzzedCall[] = [
  { path: `${SERVICES}RankService/GetRankStatus`, ends: true, seeds: [[]] },
];

const HEALTH = '/grpc.health.v1.Health/';
const serviceNamed = (name: string): Fields => [field(1, name)];
const reflection = (version: string): FuzzedCall => ({
  path: `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
  ends: true,
  standard: true,
  seeds: [
    [field(1, 'host'), field(3, 'ulysses/v1/tensor.proto')],
    [field(4, 'ulysses.v1.StepKey')],
    [field(5, [field(1, 'ulysses.v1.StepKey'), field(2, 1n)])],
    [field(6, 'ulysses.v1.StepKey')],
    [field(7, '*')],
  ],
});

/** What every control port answers beside its own. */
export const STANDARD_CALLS: readonly FuzzedCall[] = [
  { path: `${HEALTH}Check`, ends: true, standard: true, seeds: [[], serviceNamed('ulysses.v1.RankService')] },
  {
    path: `${HEALTH}Watch`,
    ends: false,
    standard: true,
    seeds: [[], serviceNamed('ulysses.v1.RankService')],
  },
  reflection('v1'),
  reflection('v1alpha'),
];

const SLICE: Fields = [
  field(1, 1n),
  field(2, STEP),
  field(3, [field(1, 2n), field(2, 0n)]),
  field(4, [field(1, 1n), field(2, 0n)]),
  field(5, 1n),
  field(6, 0n),
  field(7, 0n),
  field(8, 64n),
  field(15, Buffer.alloc(64, 1)),
];
const ACK: Fields = [...SLICE.slice(0, 4), field(5, 64n), field(6, ERROR)];

export const TENSOR_CALLS: readonly FuzzedCall[] = [
  {
    path: `${SERVICES}TensorPlaneService/Push`,
    ends: true,
    seeds: [[field(1, SLICE)]],
    live: ({ slices }) => ({ before: slices, seeds: slices }),
  },
  {
    path: `${SERVICES}TensorPlaneService/Pull`,
    ends: true,
    seeds: [[field(1, ACK)], [field(1, ACK.slice(0, 5))]],
    live: ({ acks }) => ({ before: [], seeds: acks }),
  },
];
