// Original file: proto/ulysses/v1/coordinator.proto

import type { Plan as _ulysses_v1_Plan, Plan__Output as _ulysses_v1_Plan__Output } from '../../ulysses/v1/Plan.js';
import type { RankAddress as _ulysses_v1_RankAddress, RankAddress__Output as _ulysses_v1_RankAddress__Output } from '../../ulysses/v1/RankAddress.js';
import type { ExchangePlan as _ulysses_v1_ExchangePlan, ExchangePlan__Output as _ulysses_v1_ExchangePlan__Output } from '../../ulysses/v1/ExchangePlan.js';
import type { KvCachePolicy as _ulysses_v1_KvCachePolicy, KvCachePolicy__Output as _ulysses_v1_KvCachePolicy__Output } from '../../ulysses/v1/KvCachePolicy.js';
import type { Long } from '@grpc/proto-loader';

export interface Planned {
  'epoch'?: (number | string | Long);
  'attempt'?: (number);
  'plan'?: (_ulysses_v1_Plan | null);
  'ranks'?: (_ulysses_v1_RankAddress)[];
  /**
   * Rows that the batch carries as padding, over all samples, and those of them that are not exchanged.
   */
  'paddingRows'?: (number | string | Long);
  'paddingRowsNotExchanged'?: (number | string | Long);
  'exchange'?: (_ulysses_v1_ExchangePlan | null);
  /**
   * Resolved: none, half or full. With the step's keep it says what a backward sends beside dout.
   */
  'kvCachePolicy'?: (_ulysses_v1_KvCachePolicy);
  /**
   * The policy made an exchange aligned that would not have been.
   */
  'alignedByPolicy'?: (boolean);
  /**
   * Of the operation that was asked for.
   */
  'operation'?: "plan"|"exchange";
}

export interface Planned__Output {
  'epoch': (number);
  'attempt': (number);
  'plan'?: (_ulysses_v1_Plan__Output | null);
  'ranks': (_ulysses_v1_RankAddress__Output)[];
  /**
   * Rows that the batch carries as padding, over all samples, and those of them that are not exchanged.
   */
  'paddingRows': (number);
  'paddingRowsNotExchanged': (number);
  'exchange'?: (_ulysses_v1_ExchangePlan__Output | null);
  /**
   * Resolved: none, half or full. With the step's keep it says what a backward sends beside dout.
   */
  'kvCachePolicy': (_ulysses_v1_KvCachePolicy__Output);
  /**
   * The policy made an exchange aligned that would not have been.
   */
  'alignedByPolicy': (boolean);
  /**
   * Of the operation that was asked for.
   */
  'operation'?: "plan"|"exchange";
}
