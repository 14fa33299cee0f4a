// Original file: proto/ulysses/v1/coordinator.proto

import type { RankStatus as _ulysses_v1_RankStatus, RankStatus__Output as _ulysses_v1_RankStatus__Output } from '../../ulysses/v1/RankStatus.js';
import type { StepTrace as _ulysses_v1_StepTrace, StepTrace__Output as _ulysses_v1_StepTrace__Output } from '../../ulysses/v1/StepTrace.js';
import type { Long } from '@grpc/proto-loader';

export interface GetStatusResponse {
  'epoch'?: (number | string | Long);
  'cpSize'?: (number);
  'complete'?: (boolean);
  'ranks'?: (_ulysses_v1_RankStatus)[];
  'stepsRunning'?: (number | string | Long);
  'stepsCommitted'?: (number | string | Long);
  'stepsFailed'?: (number | string | Long);
  /**
   * Of the coordinator.
   */
  'traces'?: (_ulysses_v1_StepTrace)[];
}

export interface GetStatusResponse__Output {
  'epoch': (number);
  'cpSize': (number);
  'complete': (boolean);
  'ranks': (_ulysses_v1_RankStatus__Output)[];
  'stepsRunning': (number);
  'stepsCommitted': (number);
  'stepsFailed': (number);
  /**
   * Of the coordinator.
   */
  'traces': (_ulysses_v1_StepTrace__Output)[];
}
