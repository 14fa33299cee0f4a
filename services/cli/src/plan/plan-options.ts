import {
  KEEPS,
  KV_CACHE_BUDGET_BYTES,
  KV_CACHE_CHOICES,
  STRATEGIES,
  chooseKvCachePolicy,
  defaultStrategy,
  splitSizes,
  type Mask,
  type Plan,
  type Retention,
  type StepSpec,
} from '@ulysses/plan';
import {
  bytesOption,
  choiceOption,
  integerOption,
  switchOption,
  type Check,
  type Config,
} from '@ulysses/runtime';
import { DTYPES, LAYOUTS } from '@ulysses/tensor';
import { CLUSTER_OPTIONS } from '../cluster-options.js';
import { named } from '../config.js';
import { listOption } from '../list-option.js';

export const PLAN_OPTIONS = {
  contextParallelSize: CLUSTER_OPTIONS.contextParallelSize,
  contextParallelAlgo: CLUSTER_OPTIONS.contextParallelAlgo,
  sequence: integerOption({
    ...named('sequence'),
    min: 1,
    default: null,
    help: 'Rows of the whole sequence, cut over the owners as evenly as they go.',
  }),
  splits: listOption({ ...named('splits'), help: 'Rows of every sequence owner instead.' }),
  kvSequence: integerOption({
    ...named('kv-sequence'),
    min: 1,
    default: null,
    help: 'Rows of k and v when they are not those of q; with --splits use --kv-splits.',
  }),
  kvSplits: listOption({ ...named('kv-splits'), help: 'Rows of k and v of every owner.' }),
  cuSeqlens: listOption({
    ...named('cu-seqlens'),
    help: 'Running sums of the samples of a packed batch, from 0 to the number of tokens; means --layout thd.',
  }),
  owners: integerOption({
    ...named('owners'),
    min: 1,
    max: 4096,
    default: null,
    help: 'Sequence owners (trainer processes); none means one per rank.',
  }),
  heads: integerOption({ ...named('heads'), min: 1, help: 'Query heads.' }),
  kvHeads: integerOption({
    ...named('kv-heads'),
    min: 1,
    default: null,
    help: 'KV heads; none means as many as query heads.',
  }),
  headSize: integerOption({ ...named('head-size'), min: 1, default: 128, help: 'Elements of a head.' }),
  batch: integerOption({ ...named('batch'), min: 1, default: 1, help: 'Samples.' }),
  dtype: choiceOption(DTYPES, { ...named('dtype'), default: 'f32', help: 'Element type of the tensors.' }),
  layout: choiceOption(LAYOUTS, {
    ...named('layout'),
    default: null,
    help: 'Order of dimensions; none means sbhd.',
  }),
  causal: switchOption({
    ...named('causal'),
    help: 'Rows see no later keys; without, every row sees every key.',
  }),
  window: integerOption({
    ...named('window'),
    default: null,
    help: 'How many keys before its own each row sees at most.',
  }),
  strategy: choiceOption(STRATEGIES, {
    ...named('strategy'),
    default: null,
    help: 'How work is cut; none means whole heads where they divide, balanced otherwise.',
  }),
  keep: choiceOption(KEEPS, {
    ...named('keep'),
    default: 'store',
    help: 'What is kept between forward and backward; decides what backward exchanges.',
  }),
  kvCachePolicy: choiceOption(KV_CACHE_CHOICES, {
    ...named('context-parallel-kv-cache-policy'),
    default: 'none',
    help: 'K (half) or K and V (full) are exchanged again in backward; auto takes the first that fits --kv-cache-budget.',
  }),
  kvCacheBudget: bytesOption({
    ...named('kv-cache-budget'),
    default: KV_CACHE_BUDGET_BYTES,
    help: 'With policy auto: most memory that one rank keeps of one forward.',
  }),
  json: switchOption({ ...named('json'), help: 'Print everything as one JSON object, units included.' }),
};

export type PlanConfig = Config<typeof PLAN_OPTIONS>;

type PlanCheck = Check<typeof PLAN_OPTIONS>;

/** What is wrong with options that are right one by one. */
export const PLAN_CHECKS: readonly PlanCheck[] = [
  ({ sequence, splits, cuSeqlens }) => {
    if (sequence !== null || splits !== null || cuSeqlens !== null) return [];
    return ['the sequence is missing, expected --sequence, --splits or --cu-seqlens'];
  },
  oneOf('sequence', 'splits'),
  oneOf('sequence', 'cuSeqlens'),
  oneOf('kvSequence', 'kvSplits'),
  oneOf('kvSequence', 'cuSeqlens'),
  oneOf('kvSplits', 'cuSeqlens'),
  ({ splits, owners }) => {
    if (splits === null || owners === null || owners === splits.length) return [];
    return [`--owners is ${owners}, expected ${splits.length}, the number of --splits, or nothing`];
  },
  ({ splits, kvSplits }) => {
    if (splits === null || kvSplits === null || splits.length === kvSplits.length) return [];
    return [`--kv-splits are ${kvSplits.length}, expected ${splits.length}, as many as --splits`];
  },
  ({ cuSeqlens, layout }) => {
    if (cuSeqlens === null || layout === null || layout === 'thd') return [];
    return [`--layout is "${layout}", expected thd with --cu-seqlens, or nothing`];
  },
  ({ heads, kvHeads }) => {
    if (kvHeads === null || heads % kvHeads === 0) return [];
    return [`--kv-heads is ${kvHeads}, expected a divisor of --heads, which is ${heads}`];
  },
];

function oneOf(first: keyof PlanConfig, second: keyof PlanConfig): PlanCheck {
  return (config) => {
    if (config[first] === null || config[second] === null) return [];
    const flags = [first, second].map((name) => `--${PLAN_OPTIONS[name].flag}`);
    return [`${flags.join(' and ')} are given, expected one of them`];
  };
}

/** How the options keep a step's results; what `auto` comes to depends on the plan. */
export function retentionOf({ keep, kvCachePolicy, kvCacheBudget }: PlanConfig, plan: Plan): Retention {
  const policy = kvCachePolicy === 'auto' ? chooseKvCachePolicy(plan, kvCacheBudget) : kvCachePolicy;
  return { keep, policy };
}

/** The step that the options describe; the plan checks the rest. */
export function specOf(config: PlanConfig): StepSpec {
  const { heads, headSize, cuSeqlens, contextParallelSize: cpSize } = config;
  const owners = config.splits?.length ?? config.owners ?? cpSize;
  const rows = config.sequence ?? cuSeqlens?.at(-1) ?? 0;
  const qSplits = config.splits ?? splitSizes(rows, owners);
  const kvSplits =
    config.kvSplits ?? (config.kvSequence === null ? qSplits : splitSizes(config.kvSequence, owners));
  const mask: Mask = {
    left: config.window,
    right: config.causal ? 0 : null,
    segments: cuSeqlens === null ? null : { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens },
    validRanges: null,
  };
  return {
    dtype: config.dtype,
    layout: config.layout ?? (cuSeqlens === null ? 'sbhd' : 'thd'),
    batch: config.batch,
    qHeads: heads,
    kvHeads: config.kvHeads ?? heads,
    headSize,
    qSplits,
    kvSplits,
    mask,
    scale: Math.fround(1 / Math.sqrt(headSize)),
    strategy: config.strategy ?? defaultStrategy(heads, cpSize),
    weights: null,
  };
}
