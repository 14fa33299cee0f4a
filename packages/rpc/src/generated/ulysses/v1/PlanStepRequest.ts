// Original file: proto/ulysses/v1/coordinator.proto

import type { StepKey as _ulysses_v1_StepKey, StepKey__Output as _ulysses_v1_StepKey__Output } from '../../ulysses/v1/StepKey.js';
import type { StepView as _ulysses_v1_StepView, StepView__Output as _ulysses_v1_StepView__Output } from '../../ulysses/v1/StepView.js';
import type { ExchangeView as _ulysses_v1_ExchangeView, ExchangeView__Output as _ulysses_v1_ExchangeView__Output } from '../../ulysses/v1/ExchangeView.js';

export interface PlanStepRequest {
  /**
   * The attempt is the newest that this owner was given, plus one; 0 at first.
   */
  'step'?: (_ulysses_v1_StepKey | null);
  'ownerIndex'?: (number);
  'ownerCount'?: (number);
  /**
   * Backward sends the same view as its forward: the coordinator keeps nothing between the two.
   */
  'view'?: (_ulysses_v1_StepView | null);
  /**
   * Backward: the forward's key with the attempt that committed.
   */
  'forward'?: (_ulysses_v1_StepKey | null);
  /**
   * Backward: ranks free what the forward kept when this step commits.
   */
  'releaseForward'?: (boolean);
  'exchange'?: (_ulysses_v1_ExchangeView | null);
  /**
   * This owner has a link to every rank, so that its rows pass no relay.
   */
  'direct'?: (boolean);
  /**
   * What to do: attention, or an exchange alone.
   */
  'operation'?: "view"|"exchange";
}

export interface PlanStepRequest__Output {
  /**
   * The attempt is the newest that this owner was given, plus one; 0 at first.
   */
  'step': (_ulysses_v1_StepKey__Output | null);
  'ownerIndex': (number);
  'ownerCount': (number);
  /**
   * Backward sends the same view as its forward: the coordinator keeps nothing between the two.
   */
  'view'?: (_ulysses_v1_StepView__Output | null);
  /**
   * Backward: the forward's key with the attempt that committed.
   */
  'forward': (_ulysses_v1_StepKey__Output | null);
  /**
   * Backward: ranks free what the forward kept when this step commits.
   */
  'releaseForward': (boolean);
  'exchange'?: (_ulysses_v1_ExchangeView__Output | null);
  /**
   * This owner has a link to every rank, so that its rows pass no relay.
   */
  'direct': (boolean);
  /**
   * What to do: attention, or an exchange alone.
   */
  'operation'?: "view"|"exchange";
}
