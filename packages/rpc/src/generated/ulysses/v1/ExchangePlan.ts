// Original file: proto/ulysses/v1/plan.proto

import type { ExchangeSpec as _ulysses_v1_ExchangeSpec, ExchangeSpec__Output as _ulysses_v1_ExchangeSpec__Output } from '../../ulysses/v1/ExchangeSpec.js';

export interface ExchangePlan {
  'planId'?: (string);
  'spec'?: (_ulysses_v1_ExchangeSpec | null);
}

export interface ExchangePlan__Output {
  'planId': (string);
  'spec': (_ulysses_v1_ExchangeSpec__Output | null);
}
