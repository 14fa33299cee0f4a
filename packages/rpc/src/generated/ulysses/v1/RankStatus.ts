// Original file: proto/ulysses/v1/coordinator.proto

import type { RankAddress as _ulysses_v1_RankAddress, RankAddress__Output as _ulysses_v1_RankAddress__Output } from '../../ulysses/v1/RankAddress.js';
import type { StepTrace as _ulysses_v1_StepTrace, StepTrace__Output as _ulysses_v1_StepTrace__Output } from '../../ulysses/v1/StepTrace.js';
import type { Long } from '@grpc/proto-loader';

export interface RankStatus {
  'rank'?: (_ulysses_v1_RankAddress | null);
  'ready'?: (boolean);
  'stepsRunning'?: (number | string | Long);
  'storeBytes'?: (number | string | Long);
  'storeBudgetBytes'?: (number | string | Long);
  'handles'?: (number | string | Long);
  'isa'?: (string);
  'leaseAgeMs'?: (number | string | Long);
  /**
   * The trace that was asked for; empty when there is none.
   */
  'traces'?: (_ulysses_v1_StepTrace)[];
}

export interface RankStatus__Output {
  'rank': (_ulysses_v1_RankAddress__Output | null);
  'ready': (boolean);
  'stepsRunning': (number);
  'storeBytes': (number);
  'storeBudgetBytes': (number);
  'handles': (number);
  'isa': (string);
  'leaseAgeMs': (number);
  /**
   * The trace that was asked for; empty when there is none.
   */
  'traces': (_ulysses_v1_StepTrace__Output)[];
}
