// Original file: proto/ulysses/v1/rank.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';
import type { Plan as _ulysses_v1_Plan, Plan__Output as _ulysses_v1_Plan__Output } from '../../ulysses/v1/Plan.js';
import type { Keep as _ulysses_v1_Keep, Keep__Output as _ulysses_v1_Keep__Output } from '../../ulysses/v1/Keep.js';
import type { ExchangePlan as _ulysses_v1_ExchangePlan, ExchangePlan__Output as _ulysses_v1_ExchangePlan__Output } from '../../ulysses/v1/ExchangePlan.js';
import type { KvCachePolicy as _ulysses_v1_KvCachePolicy, KvCachePolicy__Output as _ulysses_v1_KvCachePolicy__Output } from '../../ulysses/v1/KvCachePolicy.js';
import type { Long } from '@grpc/proto-loader';

/**
 * Derive the plan, reserve memory, vote. No payload moves before every rank voted yes.
 */
export interface Prepare {
  'epoch'?: (number | string | Long);
  'step'?: (_ulysses_v1_StepKey | null);
  'plan'?: (_ulysses_v1_Plan | null);
  'keep'?: (_ulysses_v1_Keep);
  /**
   * Backward: whose stored forward to use.
   */
  'forward'?: (_ulysses_v1_StepKey | null);
  'ownerCount'?: (number);
  /**
   * Backward: free the stored forward on commit.
   */
  'releaseForward'?: (boolean);
  /**
   * The rank only relays.
   */
  'exchange'?: (_ulysses_v1_ExchangePlan | null);
  /**
   * Resolved: none, half or full. Says what forward keeps, and so what backward receives beside dout.
   */
  'kvCachePolicy'?: (_ulysses_v1_KvCachePolicy);
  /**
   * Owners that have a link to every rank; the rows of all others pass their relay.
   */
  'directOwners'?: (number)[];
  'operation'?: "plan"|"exchange";
}

/**
 * Derive the plan, reserve memory, vote. No payload moves before every rank voted yes.
 */
export interface Prepare__Output {
  'epoch': (number);
  'step': (_ulysses_v1_StepKey__Output | null);
  'plan'?: (_ulysses_v1_Plan__Output | null);
  'keep': (_ulysses_v1_Keep__Output);
  /**
   * Backward: whose stored forward to use.
   */
  'forward': (_ulysses_v1_StepKey__Output | null);
  'ownerCount': (number);
  /**
   * Backward: free the stored forward on commit.
   */
  'releaseForward': (boolean);
  /**
   * The rank only relays.
   */
  'exchange'?: (_ulysses_v1_ExchangePlan__Output | null);
  /**
   * Resolved: none, half or full. Says what forward keeps, and so what backward receives beside dout.
   */
  'kvCachePolicy': (_ulysses_v1_KvCachePolicy__Output);
  /**
   * Owners that have a link to every rank; the rows of all others pass their relay.
   */
  'directOwners': (number)[];
  'operation'?: "plan"|"exchange";
}
