// Original file: proto/ulysses/v1/coordinator.proto

import type { Planned as _ulysses_v1_Planned, Planned__Output as _ulysses_v1_Planned__Output } from '../../ulysses/v1/Planned.js';
import type { Committed as _ulysses_v1_Committed, Committed__Output as _ulysses_v1_Committed__Output } from '../../ulysses/v1/Committed.js';

export interface PlanStepResponse {
  'planned'?: (_ulysses_v1_Planned | null);
  'committed'?: (_ulysses_v1_Committed | null);
  'update'?: "planned"|"committed";
}

export interface PlanStepResponse__Output {
  'planned'?: (_ulysses_v1_Planned__Output | null);
  'committed'?: (_ulysses_v1_Committed__Output | null);
  'update'?: "planned"|"committed";
}
