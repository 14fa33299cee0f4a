import type { UlyssesError } from '@ulysses/errors';
import type {
  ExchangePlan,
  Keep,
  KvCacheChoice,
  KvCachePolicy,
  OwnerMask,
  Plan,
  RowRange,
  Strategy,
} from '@ulysses/plan';
import type { DType, Layout } from '@ulysses/tensor';

/** Announced by members when they join; a store admits only its own. Changes with every incompatible change of proto/. */
export const PROTOCOL_VERSION = '3';

// Control messages as services see them. What the wire cannot say exactly is checked by convert/: an optional value is
// null here, never a missing key, and 64-bit fields are safe integers.

export const PASSES = ['forward', 'backward'] as const;
export type Pass = (typeof PASSES)[number];

/**
 * Names one step. Job, session, call and pass identify it across epochs; receivers admit only the newest attempt.
 * Same shape as the native core's, so that values are assignable.
 */
export interface StepKey {
  readonly job: string;
  readonly session: string;
  readonly call: number;
  readonly pass: Pass;
  readonly attempt: number;
}

export const CALCULATORS = ['default', 'dynamic', 'custom'] as const;
export type CalculatorName = (typeof CALCULATORS)[number];

/** One rank of an epoch and where it listens. `rank` changes between epochs, `member` does not. */
export interface RankAddress {
  readonly rank: number;
  readonly member: string;
  readonly controlAddress: string;
  readonly tensorAddress: string;
}

/** Who is a member now. `members` is in rank order; `complete` means that all cpSize ranks are taken. */
export interface Membership {
  readonly epoch: number;
  readonly cpSize: number;
  readonly complete: boolean;
  readonly members: readonly RankAddress[];
}

/** The step as one sequence owner sees it. */
export interface StepView {
  readonly dtype: DType;
  readonly layout: Layout;
  readonly batch: number;
  readonly qHeads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  /** Rows of this owner's shard, before any gather size is applied. */
  readonly qRows: number;
  readonly kvRows: number;
  readonly mask: OwnerMask;
  readonly scale: number;
  /** How work is cut; null: the coordinator chooses. */
  readonly strategy: Strategy | null;
  readonly keep: Keep;
  /** Attention-mask lengths per sample, if the batch has them; never empty. */
  readonly attentionMaskLengths: readonly number[] | null;
  /** Last dimension of an attention-mask tensor, if the batch has one. */
  readonly attentionMaskExtent: number | null;
  /** Results of a calculator that ran in the client. */
  readonly gatherSizeQ: number | null;
  readonly gatherSizeKv: number | null;
  /** Its name; null sizes are then its answers too, and mean an aligned exchange. */
  readonly clientCalculator: string | null;
  /** Which calculator the coordinator uses when the client ran none; null: the coordinator's own. */
  readonly gatherSizeCalculator: CalculatorName | null;
  /** `kwargs` for a custom calculator, as JSON text; reaches `calculate` untouched. */
  readonly calculatorArguments: string | null;
  /** Null: the cluster's default. */
  readonly kvCachePolicy: KvCacheChoice | null;
  /** With policy auto, most bytes that one rank may keep of this forward; null: the cluster's default. */
  readonly kvCacheBudgetBytes: number | null;
  /** Policies half and full leave the exchange as the calculator says. */
  readonly kvCachePolicyUnaligned: boolean;
}

/** An exchange alone as one sequence owner sees it. It has one owner per rank. */
export interface ExchangeView {
  readonly dtype: DType;
  /** Extents of this owner's shard. */
  readonly shape: readonly number[];
  readonly scatterDim: number;
  readonly gatherDim: number;
  /** Extent of the gather dimension afterwards; null: all rows of all shards. */
  readonly gatherSize: number | null;
  /** Shards must be equal and the scatter dimension must divide. */
  readonly aligned: boolean;
  /** What every owner gets of the scatter dimension; null: equal parts, the remainder one each to the lowest owners. */
  readonly scatterRanges: readonly RowRange[] | null;
  /** What every owner holds of the gather dimension; null: shards follow each other in owner order. */
  readonly gatherRanges: readonly RowRange[] | null;
  /** What the callers use it for, in their own words; must be the same text on all owners. */
  readonly purpose: string | null;
  /** Why this owner cannot take part: the step ends at once for all owners, with this one's name. */
  readonly failure: string | null;
}

export function isExchangeView(view: StepView | ExchangeView): view is ExchangeView {
  return 'scatterDim' in view;
}

export function isExchangePlan(plan: Plan | ExchangePlan): plan is ExchangePlan {
  return !('cuts' in plan);
}

/** One sequence owner's part in one step. */
export interface PlanStep {
  /** The attempt is the newest that this owner was given, plus one; 0 at first. */
  readonly step: StepKey;
  readonly ownerIndex: number;
  readonly ownerCount: number;
  /** Attention, or an exchange alone. Backward sends the same view as its forward. */
  readonly view: StepView | ExchangeView;
  /** Backward: the forward's key with the attempt that committed; forward: null. */
  readonly forward: StepKey | null;
  /** Backward: ranks free what the forward kept when this step commits. */
  readonly releaseForward: boolean;
  /** This owner has a link to every rank, so that its rows pass no relay. */
  readonly direct: boolean;
}

/** Every owner and every rank said yes; payload may move. */
export interface Planned {
  readonly kind: 'planned';
  readonly epoch: number;
  readonly attempt: number;
  /** Of the operation that was asked for. */
  readonly plan: Plan | ExchangePlan;
  /** In rank order. */
  readonly ranks: readonly RankAddress[];
  /** Rows that the batch carries as padding, over all samples, and those of them that are not exchanged. */
  readonly paddingRows: number;
  readonly paddingRowsNotExchanged: number;
  readonly kvCachePolicy: KvCachePolicy;
  /** The policy made an exchange aligned that would not have been. */
  readonly alignedByPolicy: boolean;
}

export type PlanStepUpdate = Planned | { readonly kind: 'committed' };

/** An owner whose call broke asks how the attempt ended that it was given. */
export interface SettleStep {
  readonly step: StepKey;
  readonly ownerIndex: number;
}

export interface StepSettled {
  readonly committed: boolean;
}

/** Frees what a forward kept; `step` is the forward's key. */
export interface Release {
  readonly step: StepKey;
}

/** A message without fields. */
export type Empty = Readonly<Record<string, never>>;

export interface RankStatus {
  readonly rank: RankAddress;
  readonly ready: boolean;
  readonly stepsRunning: number;
  readonly storeBytes: number;
  readonly storeBudgetBytes: number;
  readonly handles: number;
  readonly isa: string;
  /** Since the last renewal of its lease. */
  readonly leaseAgeMs: number;
  /** The one that was asked for; empty when there is none. */
  readonly traces: readonly StepTrace[];
}

/** What one process did with a step, one phase after the other. */
export interface StepTrace {
  readonly step: StepKey;
  readonly spans: readonly TraceSpan[];
}

/** Microseconds since 1970, by the clock of the process. */
export interface TraceSpan {
  readonly phase: string;
  readonly beginUs: number;
  readonly endUs: number;
}

/** Which step's trace a status is to have: the beginning of `job/session/call/pass/attempt`, or `last`; empty: none. */
export interface StatusRequest {
  readonly trace?: string;
}

export interface ClusterStatus {
  readonly epoch: number;
  readonly cpSize: number;
  readonly complete: boolean;
  readonly ranks: readonly RankStatus[];
  readonly stepsRunning: number;
  readonly stepsCommitted: number;
  readonly stepsFailed: number;
  /** Of the coordinator. */
  readonly traces: readonly StepTrace[];
}

/** Derive the plan, reserve memory, vote. */
export interface Prepare {
  readonly kind: 'prepare';
  readonly epoch: number;
  readonly step: StepKey;
  /** In an exchange alone the rank only relays. */
  readonly plan: Plan | ExchangePlan;
  readonly keep: Keep;
  readonly kvCachePolicy: KvCachePolicy;
  /** Backward: whose kept forward to use. */
  readonly forward: StepKey | null;
  readonly ownerCount: number;
  /** Backward: free the kept forward on commit. */
  readonly releaseForward: boolean;
  /** Owners that have a link to every rank; the rows of all others pass their relay. */
  readonly directOwners: readonly number[];
}

/** What the coordinator tells one rank, in order. */
export type RankCommand =
  | { readonly kind: 'enter-epoch'; readonly epoch: number; readonly ranks: readonly RankAddress[] }
  | Prepare
  | { readonly kind: 'abort'; readonly step: StepKey; readonly cause: UlyssesError }
  | { readonly kind: 'commit'; readonly step: StepKey }
  | { readonly kind: 'release'; readonly step: StepKey }
  /** To end: the rank says `leaving`. */
  | { readonly kind: 'leave' };

/** A command with the term of the leadership that it comes from; 0 where nobody else could lead. */
export type TermedCommand = RankCommand & { readonly term: number };

/** What a rank answers. */
export type RankEvent =
  | { readonly kind: 'ready'; readonly epoch: number }
  /** A null refusal means yes. */
  | { readonly kind: 'vote'; readonly step: StepKey; readonly refusal: UlyssesError | null }
  /** All units are computed and every row this rank sent is acknowledged. */
  | { readonly kind: 'finished'; readonly step: StepKey }
  | { readonly kind: 'failed'; readonly step: StepKey; readonly error: UlyssesError }
  | {
      readonly kind: 'peer-lost';
      readonly epoch: number;
      readonly rank: number;
      readonly member: string;
      readonly reason: string;
    }
  /** It wants to leave, and serves until this stream is ended. */
  | { readonly kind: 'leaving' };

/** A process asks for a rank. */
export interface JoinRequest {
  readonly member: string;
  readonly controlAddress: string;
  readonly tensorAddress: string;
  readonly protocolVersion: string;
}

/** The timed right to be `rank`. */
export interface Lease {
  readonly rank: number;
  readonly epoch: number;
  readonly leaseMs: number;
}

export interface RenewRequest {
  readonly member: string;
  readonly rank: number;
  /** The highest epoch this member has seen; the store advances from the maximum. */
  readonly epoch: number;
}

export interface Renewed {
  readonly epoch: number;
}

/** Names one member: to leave, or to revoke. */
export interface MemberRequest {
  readonly member: string;
}

/** How many ranks the cluster is to have. */
export interface Scale {
  readonly cpSize: number;
}

/** Which rank is to leave. */
export interface Drain {
  readonly rank: number;
}
