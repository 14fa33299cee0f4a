// Original file: proto/ulysses/v1/tensor.proto

import type { Pass as _ulysses_v1_Pass, Pass__Output as _ulysses_v1_Pass__Output } from '../../ulysses/v1/Pass.js';
import type { Long } from '@grpc/proto-loader';

/**
 * Names one step. Job, session, call and pass identify it across epochs; receivers admit only the newest attempt.
 */
export interface StepKey {
  'job'?: (string);
  /**
   * One client session, shared by all sequence owners of the same trainer.
   */
  'session'?: (string);
  'call'?: (number | string | Long);
  'pass'?: (_ulysses_v1_Pass);
  /**
   * Assigned by the coordinator; starts at 0.
   */
  'attempt'?: (number);
}

/**
 * Names one step. Job, session, call and pass identify it across epochs; receivers admit only the newest attempt.
 */
export interface StepKey__Output {
  'job': (string);
  /**
   * One client session, shared by all sequence owners of the same trainer.
   */
  'session': (string);
  'call': (number);
  'pass': (_ulysses_v1_Pass__Output);
  /**
   * Assigned by the coordinator; starts at 0.
   */
  'attempt': (number);
}
