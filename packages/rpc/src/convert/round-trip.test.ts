import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERROR_TABLE, UlyssesError, type ErrorCode } from '@ulysses/errors';
import {
  KEEPS,
  KV_CACHE_CHOICES,
  KV_CACHE_POLICIES,
  STRATEGIES,
  type ExchangePlan,
  type Mask,
  type OwnerMask,
  type Plan,
  type RowRange,
  type StepSpec,
} from '@ulysses/plan';
import { DTYPES, LAYOUTS } from '@ulysses/tensor';
import {
  CALCULATORS,
  PASSES,
  type ClusterStatus,
  type ExchangeView,
  type Membership,
  type PlanStep,
  type PlanStepUpdate,
  type RankAddress,
  type RankCommand,
  type TermedCommand,
  type RankEvent,
  type RankStatus,
  type StepKey,
  type StepTrace,
  type StepView,
} from '../messages.js';
import type { Codec } from '../method.js';
import { coordinatorMethods, rankMethods, rendezvousMethods } from '../services.js';

// fast-check prints seed and path of a failure.

const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const uint64 = fc.maxSafeNat();
const text = fc.string({ unit: 'binary' }).map((any) => Buffer.from(any, 'utf8').toString('utf8'));
const orNull = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const some = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: 1, maxLength: 6 });
const list = <T>(value: fc.Arbitrary<T>) => fc.array(value, { maxLength: 6 });
const real = fc.double({ noNaN: true });

const stepKey: fc.Arbitrary<StepKey> = fc.record({
  job: text,
  session: text,
  call: uint64,
  pass: fc.constantFrom(...PASSES),
  attempt: uint32,
});
const rowRange: fc.Arbitrary<RowRange> = fc.record({ begin: uint64, end: uint64 });
const maskFields = {
  left: orNull(uint64),
  right: orNull(uint64),
  segments: orNull(fc.record({ cuSeqlensQ: some(uint64), cuSeqlensKv: some(uint64) })),
};
const mask: fc.Arbitrary<Mask> = fc.record({
  ...maskFields,
  validRanges: orNull(fc.record({ q: some(rowRange), kv: some(rowRange) })),
});
// Of an owner, who may leave the queries to the coordinator.
const ownerMask: fc.Arbitrary<OwnerMask> = fc.oneof(
  mask,
  fc.record({ ...maskFields, validRanges: fc.record({ q: fc.constant(null), kv: some(rowRange) }) }),
);
const shape = {
  dtype: fc.constantFrom(...DTYPES),
  layout: fc.constantFrom(...LAYOUTS),
  batch: uint32,
  qHeads: uint32,
  kvHeads: uint32,
  headSize: uint32,
  mask,
  scale: real,
  strategy: fc.constantFrom(...STRATEGIES),
};
const spec: fc.Arbitrary<StepSpec> = fc.record({
  ...shape,
  qSplits: list(uint64),
  kvSplits: list(uint64),
  weights: orNull(some(real)),
});
const plan: fc.Arbitrary<Plan> = fc.record({ planId: text, cpSize: uint32, spec, cuts: list(uint64) });
const view: fc.Arbitrary<StepView> = fc.record({
  ...shape,
  mask: ownerMask,
  strategy: orNull(shape.strategy),
  qRows: uint64,
  kvRows: uint64,
  keep: fc.constantFrom(...KEEPS),
  attentionMaskLengths: orNull(some(uint64)),
  attentionMaskExtent: orNull(uint64),
  gatherSizeQ: orNull(uint64),
  gatherSizeKv: orNull(uint64),
  clientCalculator: orNull(text.filter((name) => name !== '')),
  gatherSizeCalculator: orNull(fc.constantFrom(...CALCULATORS)),
  calculatorArguments: orNull(fc.json()),
  kvCachePolicy: orNull(fc.constantFrom(...KV_CACHE_CHOICES)),
  kvCacheBudgetBytes: orNull(uint64),
  kvCachePolicyUnaligned: fc.boolean(),
});
const exchangeShape = {
  dtype: shape.dtype,
  shape: list(uint64),
  scatterDim: uint32,
  gatherDim: uint32,
};
const exchangeView: fc.Arbitrary<ExchangeView> = fc.record({
  ...exchangeShape,
  gatherSize: orNull(uint64),
  aligned: fc.boolean(),
  scatterRanges: orNull(some(rowRange)),
  gatherRanges: orNull(some(rowRange)),
  purpose: orNull(text.filter((words) => words !== '')),
  failure: orNull(text.filter((words) => words !== '')),
});
const exchangePlan: fc.Arbitrary<ExchangePlan> = fc.record({
  planId: text,
  spec: fc.record({ ...exchangeShape, scatterRanges: list(rowRange), gatherRanges: list(rowRange) }),
});
const planStep: fc.Arbitrary<PlanStep> = fc.record({
  step: stepKey,
  ownerIndex: uint32,
  ownerCount: uint32,
  view: fc.oneof(view, exchangeView),
  forward: orNull(stepKey),
  releaseForward: fc.boolean(),
  direct: fc.boolean(),
});
const address: fc.Arbitrary<RankAddress> = fc.record({
  rank: uint32,
  member: text,
  controlAddress: text,
  tensorAddress: text,
});
const update: fc.Arbitrary<PlanStepUpdate> = fc.oneof(
  fc.constant({ kind: 'committed' as const }),
  fc.record({
    kind: fc.constant('planned' as const),
    epoch: uint64,
    attempt: uint32,
    plan: fc.oneof(plan, exchangePlan),
    ranks: list(address),
    paddingRows: uint64,
    paddingRowsNotExchanged: uint64,
    kvCachePolicy: fc.constantFrom(...KV_CACHE_POLICIES),
    alignedByPolicy: fc.boolean(),
  }),
);
const error = fc
  .record({
    code: fc.constantFrom(...(Object.keys(ERROR_TABLE) as ErrorCode[])),
    message: text,
    details: fc.dictionary(
      text.filter((name) => name !== '__proto__'),
      text,
      { maxKeys: 4 },
    ),
  })
  .map(({ code, message, details }) => new UlyssesError(code, message, { ...details }));
const bareCommand: fc.Arbitrary<RankCommand> = fc.oneof(
  fc.record({ kind: fc.constant('enter-epoch' as const), epoch: uint64, ranks: list(address) }),
  fc.record({
    kind: fc.constant('prepare' as const),
    epoch: uint64,
    step: stepKey,
    plan: fc.oneof(plan, exchangePlan),
    keep: fc.constantFrom(...KEEPS),
    kvCachePolicy: fc.constantFrom(...KV_CACHE_POLICIES),
    forward: orNull(stepKey),
    ownerCount: uint32,
    releaseForward: fc.boolean(),
    directOwners: list(uint32),
  }),
  fc.record({ kind: fc.constant('abort' as const), step: stepKey, cause: error }),
  fc.record({ kind: fc.constantFrom('commit' as const, 'release' as const), step: stepKey }),
  fc.constant({ kind: 'leave' as const }),
);
const command: fc.Arbitrary<TermedCommand> = fc
  .tuple(bareCommand, uint64)
  .map(([bare, term]) => ({ ...bare, term }));
const event: fc.Arbitrary<RankEvent> = fc.oneof(
  fc.record({ kind: fc.constant('ready' as const), epoch: uint64 }),
  fc.record({ kind: fc.constant('vote' as const), step: stepKey, refusal: orNull(error) }),
  fc.record({ kind: fc.constant('finished' as const), step: stepKey }),
  fc.record({ kind: fc.constant('failed' as const), step: stepKey, error }),
  fc.record({
    kind: fc.constant('peer-lost' as const),
    epoch: uint64,
    rank: uint32,
    member: text,
    reason: text,
  }),
  fc.constant({ kind: 'leaving' as const }),
);
const membership: fc.Arbitrary<Membership> = fc.record({
  epoch: uint64,
  cpSize: uint32,
  complete: fc.boolean(),
  members: list(address),
});
const stepTrace: fc.Arbitrary<StepTrace> = fc.record({
  step: stepKey,
  spans: list(fc.record({ phase: text, beginUs: uint64, endUs: uint64 })),
});
const rankStatus: fc.Arbitrary<RankStatus> = fc.record({
  rank: address,
  ready: fc.boolean(),
  stepsRunning: uint64,
  storeBytes: uint64,
  storeBudgetBytes: uint64,
  handles: uint64,
  isa: text,
  leaseAgeMs: uint64,
  traces: list(stepTrace),
});
const clusterStatus: fc.Arbitrary<ClusterStatus> = fc.record({
  epoch: uint64,
  cpSize: uint32,
  complete: fc.boolean(),
  ranks: list(rankStatus),
  stepsRunning: uint64,
  stepsCommitted: uint64,
  stepsFailed: uint64,
  traces: list(stepTrace),
});
const joinRequest = fc.record({
  member: text,
  controlAddress: text,
  tensorAddress: text,
  protocolVersion: text,
});

describe('a message comes out of its bytes as it went in:', () => {
  const { planStep: planStepMethod, settleStep, release, watchMembership, getStatus } = coordinatorMethods;
  const { join, renew, leave } = rendezvousMethods;
  comesBack('PlanStep', planStepMethod.request, planStep);
  comesBack('PlanStepUpdate', planStepMethod.response, update);
  comesBack('SettleStep', settleStep.request, fc.record({ step: stepKey, ownerIndex: uint32 }));
  comesBack('StepSettled', settleStep.response, fc.record({ committed: fc.boolean() }));
  comesBack('Release', release.request, fc.record({ step: stepKey }));
  comesBack('Membership', watchMembership.response, membership);
  comesBack('ClusterStatus', getStatus.response, clusterStatus);
  comesBack('RankCommand', rankMethods.steps.request, command);
  comesBack('RankEvent', rankMethods.steps.response, event);
  comesBack('RankStatus', rankMethods.getRankStatus.response, rankStatus);
  comesBack('JoinRequest', join.request, joinRequest);
  comesBack('Lease', join.response, fc.record({ rank: uint32, epoch: uint64, leaseMs: uint64 }));
  comesBack('RenewRequest', renew.request, fc.record({ member: text, rank: uint32, epoch: uint64 }));
  comesBack('Renewed', renew.response, fc.record({ epoch: uint64 }));
  comesBack('MemberRequest', leave.request, fc.record({ member: text }));
  comesBack('Empty', leave.response, fc.constant({}));
});

it('a command that goes to every rank is encoded once', () => {
  const { encode } = rankMethods.steps.request;
  const [sample] = fc.sample(command, 1);
  expect(encode(sample!)).toBe(encode(sample!));
  expect(encode({ ...sample! })).toEqual(encode(sample!));
});

function comesBack<T>(name: string, codec: Codec<T>, values: fc.Arbitrary<T>): void {
  it(name, () => {
    fc.assert(
      fc.property(values, (value) => {
        expect(codec.decode(codec.encode(value))).toEqual(value);
      }),
    );
  });
}
