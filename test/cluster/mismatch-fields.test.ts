import { UlyssesError } from '@ulysses/errors';
import {
  connectCoordinator,
  type CoordinatorClient,
  type ExchangeView,
  type PlanStep,
  type StepKey,
  type StepView,
} from '@ulysses/rpc';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCoordinator } from '../support/cluster.js';
import { RAW_VIEW, rawKey, rawOwner, rawPart } from '../support/raw-owner.js';

const OWNERS = 4;

let coordinator: Awaited<ReturnType<typeof startCoordinator>>;
let client: CoordinatorClient;
beforeAll(async () => {
  coordinator = await startCoordinator(OWNERS);
  client = connectCoordinator(coordinator.address);
});
afterAll(async () => {
  client.close();
  await coordinator.stop();
});

/** Another value of one field, and its name in the message. */
interface Difference<View> {
  readonly field: string;
  readonly change: Partial<View>;
  /** What all owners have in common where the field counts only then. */
  readonly common?: Partial<View>;
}

/** A field that is added to the view has to be added here. */
const STEP: Readonly<Record<keyof StepView, Difference<StepView>>> = {
  dtype: { field: 'dtype', change: { dtype: 'bf16' } },
  layout: { field: 'layout', change: { layout: 'bshd' } },
  batch: { field: 'batch', change: { batch: 2 } },
  qHeads: { field: 'q_heads', change: { qHeads: 8 } },
  kvHeads: { field: 'kv_heads', change: { kvHeads: 4 } },
  headSize: { field: 'head_size', change: { headSize: 16 } },
  qRows: { field: 'q_rows', change: { qRows: 9 }, common: { gatherSizeCalculator: 'default' } },
  kvRows: { field: 'kv_rows', change: { kvRows: 9 }, common: { gatherSizeCalculator: 'default' } },
  mask: { field: 'mask', change: { mask: { ...RAW_VIEW.mask, left: 3 } } },
  scale: { field: 'scale', change: { scale: 0.5 } },
  strategy: { field: 'strategy', change: { strategy: 'heads' } },
  keep: { field: 'keep', change: { keep: 'store' } },
  attentionMaskLengths: { field: 'attention_mask_lengths', change: { attentionMaskLengths: [40] } },
  attentionMaskExtent: { field: 'attention_mask_extent', change: { attentionMaskExtent: 40 } },
  gatherSizeQ: { field: 'gather_size_q', change: { gatherSizeQ: 40 }, common: { clientCalculator: 'Own' } },
  gatherSizeKv: {
    field: 'gather_size_kv',
    change: { gatherSizeKv: 40 },
    common: { clientCalculator: 'Own' },
  },
  clientCalculator: { field: 'client_calculator', change: { clientCalculator: 'Half' } },
  gatherSizeCalculator: { field: 'gather_size_calculator', change: { gatherSizeCalculator: 'default' } },
  calculatorArguments: { field: 'calculator_arguments', change: { calculatorArguments: '{"n":40}' } },
  kvCachePolicy: { field: 'kv_cache_policy', change: { kvCachePolicy: 'half' } },
  kvCacheBudgetBytes: { field: 'kv_cache_budget_bytes', change: { kvCacheBudgetBytes: 4096 } },
  kvCachePolicyUnaligned: { field: 'kv_cache_policy_unaligned', change: { kvCachePolicyUnaligned: true } },
};

const EXCHANGE_VIEW: ExchangeView = {
  ...{ dtype: 'f32', shape: [6, 8], scatterDim: 1, gatherDim: 0, gatherSize: null, aligned: false },
  ...{ scatterRanges: null, gatherRanges: null, purpose: null, failure: null },
};
const RANGES = Array.from({ length: OWNERS }, (_, i) => ({ begin: 2 * i, end: 2 * i + 2 }));

/** `failure` is not compared: it ends the step by itself. */
const EXCHANGE: Readonly<Record<Exclude<keyof ExchangeView, 'failure'>, Difference<ExchangeView>>> = {
  dtype: { field: 'dtype', change: { dtype: 'f16' } },
  shape: { field: 'shape[1]', change: { shape: [6, 12] } },
  scatterDim: { field: 'scatter_dim', change: { scatterDim: 0, gatherDim: 1 } },
  gatherDim: { field: 'gather_dim', change: { gatherDim: 2 }, common: { shape: [6, 8, 3] } },
  gatherSize: { field: 'gather_size', change: { gatherSize: 20 } },
  aligned: { field: 'aligned', change: { aligned: true } },
  scatterRanges: { field: 'scatter_ranges', change: { scatterRanges: RANGES } },
  gatherRanges: { field: 'gather_ranges', change: { gatherRanges: RANGES } },
  purpose: { field: 'purpose', change: { purpose: 'keys' } },
};

/** Four owners of one step, of which those in `odd` say something else; what each of them was told. */
async function disagree(
  odd: readonly number[],
  common: Partial<PlanStep>,
  change: Partial<PlanStep>,
): Promise<UlyssesError[]> {
  const step = { step: rawKey('forward'), ownerCount: OWNERS, ...common };
  const calls = Array.from({ length: OWNERS }, (_, ownerIndex) => {
    const request = rawPart({}, { ...step, ...(odd.includes(ownerIndex) ? change : {}), ownerIndex });
    return rawOwner(client, request).then(
      () => {
        throw new Error(`owner ${ownerIndex} was given a plan`);
      },
      (thrown: unknown) => {
        if (thrown instanceof UlyssesError) return thrown;
        throw thrown;
      },
    );
  });
  return await Promise.all(calls);
}

/** One against three and two against two: who is named is the minority, or of a tie the first that differs from owner 0. */
const SPLITS = [
  { title: 'one against three', odd: [2], named: 2 },
  { title: 'owner 0 against three', odd: [0], named: 0 },
  { title: 'two against two', odd: [1, 3], named: 1 },
];

async function expectAllTold(
  field: string,
  common: Partial<PlanStep>,
  change: Partial<PlanStep>,
): Promise<void> {
  for (const { title, odd, named } of SPLITS) {
    const errors = await disagree(odd, common, change);
    expect(errors).toHaveLength(OWNERS);
    for (const { code, details, message } of errors) {
      expect(code, `${title}: ${message}`).toBe('STEP_MISMATCH');
      expect(details, title).toMatchObject({ field, peer: `owner ${named}` });
      expect(String(details.expected)).toContain('as the other owners have it');
      expect(message).toBe(
        `owner ${named}: ${field} is ${String(details.value)}, expected ${String(details.expected)}`,
      );
      expect(details.value).not.toBe(String(details.expected).split(',')[0]);
    }
  }
}

describe('all four owners are told whom and what, one against three and two against two', () => {
  it.each(Object.values(STEP).map((each) => [each.field, each] as const))(
    'attention: %s',
    async (field, { change, common = {} }) => {
      const view = { ...RAW_VIEW, ...common };
      await expectAllTold(field, { view }, { view: { ...view, ...change } });
    },
  );

  it.each(Object.values(EXCHANGE).map((each) => [each.field, each] as const))(
    'an exchange alone: %s',
    async (field, { change, common = {} }) => {
      const view = { ...EXCHANGE_VIEW, ...common };
      await expectAllTold(field, { view }, { view: { ...view, ...change } });
    },
  );

  it('attention or an exchange', async () => {
    await expectAllTold('operation', {}, { view: EXCHANGE_VIEW });
  });

  it('the number of dimensions', async () => {
    await expectAllTold(
      'dimensions',
      { view: EXCHANGE_VIEW },
      { view: { ...EXCHANGE_VIEW, shape: [6, 8, 1] } },
    );
  });

  it('the forward of a backward, and whether it is freed', async () => {
    const step = rawKey('backward');
    const forward: StepKey = { ...step, pass: 'forward' };
    const view = { ...RAW_VIEW, keep: 'store' } as const;
    const common = () => ({ step: { ...step, session: rawKey('backward').session }, forward, view });
    for (const [field, change] of [
      ['forward', { forward: { ...forward, attempt: 1 } }],
      ['release_forward', { releaseForward: true }],
    ] as const) {
      await expectAllTold(field, common(), change);
    }
  });
});

describe('owners that do not call', () => {
  it('are named at the deadline, whichever they are', async () => {
    for (const present of [[0, 1, 3], [2]]) {
      const step = { step: rawKey('forward'), ownerCount: OWNERS };
      const errors = await Promise.all(
        present.map((ownerIndex) =>
          rawOwner(client, rawPart({}, { ...step, ownerIndex }), { deadlineMs: 400 }).catch(
            (thrown: unknown) => thrown,
          ),
        ),
      );
      const missing = [0, 1, 2, 3].filter((each) => !present.includes(each));
      for (const error of errors) {
        expect(error).toMatchObject({
          code: 'DEADLINE',
          details: { field: 'owner_index', peer: `owner ${missing.join(', owner ')}` },
        });
      }
    }
  });
});

it('owners that count each other differently are told so, all of them', async () => {
  const errors = await disagree([3], {}, { ownerCount: 5 });
  for (const { code, details } of errors) {
    expect(code).toBe('STEP_MISMATCH');
    expect(details).toMatchObject({ field: 'owner_count', value: '5', expected: '4', peer: 'owner 3' });
  }
});
