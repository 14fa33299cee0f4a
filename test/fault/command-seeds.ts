import { createExchangePlan, createPlan } from '@ulysses/plan';
import type { RankAddress } from '@ulysses/rpc';
import { mutate, type Random } from '../support/mutate-fields.js';
import type { RawOutcome } from '../support/raw-grpc.js';
import { commandOf, eventOf } from '../support/stock-commands.js';
import { encodeFields, field, type Fields } from '../support/wire-fields.js';
import { SERVICES, type FuzzedCall } from './fuzz-seeds.js';

/** Later than any that a coordinator has had so soon. */
const TERM = 1_000n;
/** How far beyond the newest a rank takes a term. */
const MOST_TERMS_AHEAD = 2n ** 31n;
/** Share of messages in which the term may change too. */
const TERM_CHANGES = 0.15;
const [KEEP_STORE, KEEP_NONE] = [1n, 2n];
const POLICY_NONE = 1n;
const [PASS_FORWARD, PASS_BACKWARD] = [1n, 2n];
const CP_SIZE = 2;

const key = (call: bigint, pass: bigint): Fields => [
  ...[field(1, 'fuzz'), field(2, 'session'), field(3, call), field(4, pass), field(5, 0n)],
];
const FORWARD = key(1n, PASS_FORWARD);
const BACKWARD = key(1n, PASS_BACKWARD);
const ERROR: Fields = [
  field(1, 'PEER_LOST'),
  field(2, 'gone'),
  field(3, [field(1, 'peer'), field(2, 'rank 0')]),
];

/** A command and what goes before it on its stream; how a rank answers all of it. */
export interface CommandSeed {
  readonly before: readonly Fields[];
  readonly command: Fields;
  readonly events: readonly string[];
}

/**
 * What a coordinator of the newest term says to a rank of an epoch of two. Every stream begins with the epoch, without which a rank
 * has no seat and refuses steps, and ends with it: that it is entered again tells that the command between was obeyed.
 * `leave` is no seed: a rank that is told to end ends.
 */
export function commandSeeds(epoch: number, ranks: readonly RankAddress[]): readonly CommandSeed[] {
  const enter = enterEpoch(TERM, epoch, ranks);
  const of = (command: Fields): Fields => [...command, field(7, TERM)];
  const prepared = (...fields: Fields): Fields => {
    const about = [field(1, BigInt(epoch)), ...fields, field(9, POLICY_NONE)];
    return of([field(2, about)]);
  };
  const attention = (step: Fields, keep: bigint, ...more: Fields): Fields =>
    prepared(field(2, step), field(3, PLAN), field(4, keep), field(6, 1n), ...more);
  const forward = attention(FORWARD, KEEP_STORE);
  const commit = of([field(4, [field(1, FORWARD)])]);
  const release = of([field(5, [field(1, FORWARD)])]);
  const [ready, yes] = ['ready', 'yes'];
  return [
    { before: [enter], command: enter, events: [ready, ready, ready] },
    { before: [enter], command: attention(FORWARD, KEEP_NONE), events: [ready, yes, ready] },
    {
      before: [enter],
      command: prepared(
        field(2, FORWARD),
        field(8, EXCHANGE),
        field(4, KEEP_NONE),
        field(6, BigInt(CP_SIZE)),
      ),
      events: [ready, yes, ready],
    },
    {
      before: [enter, forward, commit],
      command: attention(BACKWARD, KEEP_STORE, field(5, FORWARD), field(12, 0n)),
      events: [ready, yes, yes, ready],
    },
    {
      before: [enter, forward],
      command: of([field(3, [field(1, FORWARD), field(2, ERROR)])]),
      events: [ready, yes, ready],
    },
    { before: [enter, forward], command: commit, events: [ready, yes, ready] },
    { before: [enter, forward, commit], command: release, events: [ready, yes, ready] },
  ];
}

/** The rank's command stream, as a coordinator that has no other rank to care for. */
export function commandCall(epoch: number, ranks: readonly RankAddress[]): FuzzedCall {
  const seeds = commandSeeds(epoch, ranks);
  return {
    path: `${SERVICES}RankService/Steps`,
    ends: true,
    seeds: seeds.map(({ command }) => command),
    before: seeds.map(({ before }) => before),
    after: [enterEpoch(TERM, epoch, ranks)],
    // A rank obeys one stream at a time: a second one would end the first.
    lanes: 1,
    allowed: (bytes) => !endsFuzzing(bytes),
    mutate: mutateCommand,
    reached: obeyed,
  };
}

/** A later coordinator's, after which the seeds are those of one that was deposed. */
export function laterEpoch(epoch: number, ranks: readonly RankAddress[]): Fields {
  return enterEpoch(TERM + MOST_TERMS_AHEAD / 2n, epoch, ranks);
}

/** How a rank answered, in words. */
export function eventsOf({ answers }: RawOutcome): readonly string[] {
  return answers.map((answer) => eventOf(answer));
}

/** Half of all changes would be to the term, which is one field of two: most leave it as it is. */
function mutateCommand(seed: Fields, random: Random): Buffer {
  if (random() < TERM_CHANGES) return mutate(seed, random);
  const term = seed.filter(({ number }) => number === 7);
  const command = seed.filter(({ number }) => number !== 7);
  return Buffer.concat([mutate(command, random), encodeFields(term)]);
}

/** The epoch was entered again after the command. */
function obeyed(outcome: RawOutcome): boolean {
  const events = eventsOf(outcome);
  return events.length > 1 && events.at(-1) === 'ready' && outcome.status === 0;
}

/**
 * A command to leave; or one of a later term that is a term: every message that follows would be refused as that of a deposed
 * coordinator, before anybody looks at what it says. One of these is sent when all others have been.
 */
function endsFuzzing(bytes: Buffer): boolean {
  const command = commandOf(bytes);
  if (command === null) return false;
  const { term } = command;
  return command.command === 'leave' || (term > TERM && term <= TERM + MOST_TERMS_AHEAD);
}

function enterEpoch(term: bigint, epoch: number, ranks: readonly RankAddress[]): Fields {
  const addresses = ranks.map(({ rank, member, controlAddress, tensorAddress }) =>
    field(2, [
      ...[field(1, BigInt(rank)), field(2, member)],
      ...[field(3, controlAddress), field(4, tensorAddress)],
    ]),
  );
  return [field(1, [field(1, BigInt(epoch)), ...addresses]), field(7, term)];
}

/** A plan with its right id, as fields of a Plan. */
const PLAN: Fields = (() => {
  const { planId, cuts } = createPlan(
    {
      dtype: 'f32',
      layout: 'sbhd',
      batch: 1,
      qHeads: 2,
      kvHeads: 1,
      headSize: 8,
      qSplits: [5],
      kvSplits: [5],
      mask: { left: null, right: 0, segments: null, validRanges: null },
      scale: 0.5,
      strategy: 'balanced',
      weights: null,
    },
    CP_SIZE,
  );
  const spec: Fields = [
    ...[field(1, 1n), field(2, 1n), field(3, 1n), field(4, 2n), field(5, 1n), field(6, 8n)],
    ...[field(7, 5n), field(8, 5n), field(9, [field(2, 0n)]), field(10, 0.5), field(11, 2n)],
  ];
  const cut = cuts.map((at) => field(4, BigInt(at)));
  return [field(1, planId), field(2, BigInt(CP_SIZE)), field(3, spec), ...cut];
})();

/** As fields of an ExchangePlan. */
const EXCHANGE: Fields = (() => {
  const shape = [4, 6];
  const scatterRanges = [
    { begin: 0, end: 3 },
    { begin: 3, end: 6 },
  ];
  const gatherRanges = [
    { begin: 0, end: 1 },
    { begin: 1, end: 4 },
  ];
  const [scatterDim, gatherDim] = [1, 0];
  const { planId } = createExchangePlan({
    dtype: 'f32',
    shape,
    scatterDim,
    gatherDim,
    scatterRanges,
    gatherRanges,
  });
  const ranges = (number: number, of: typeof scatterRanges): Fields =>
    of.map(({ begin, end }) => field(number, [field(1, BigInt(begin)), field(2, BigInt(end))]));
  const spec: Fields = [
    ...[field(1, 1n), ...shape.map((extent) => field(2, BigInt(extent)))],
    ...[field(3, BigInt(scatterDim)), field(4, BigInt(gatherDim))],
    ...[...ranges(5, scatterRanges), ...ranges(6, gatherRanges)],
  ];
  return [field(1, planId), field(2, spec)];
})();
