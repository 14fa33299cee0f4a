// Original file: proto/ulysses/v1/rank.proto

import type { EnterEpoch as _ulysses_v1_EnterEpoch, EnterEpoch__Output as _ulysses_v1_EnterEpoch__Output } from '../../ulysses/v1/EnterEpoch.js';
import type { Prepare as _ulysses_v1_Prepare, Prepare__Output as _ulysses_v1_Prepare__Output } from '../../ulysses/v1/Prepare.js';
import type { Abort as _ulysses_v1_Abort, Abort__Output as _ulysses_v1_Abort__Output } from '../../ulysses/v1/Abort.js';
import type { Commit as _ulysses_v1_Commit, Commit__Output as _ulysses_v1_Commit__Output } from '../../ulysses/v1/Commit.js';
import type { Release as _ulysses_v1_Release, Release__Output as _ulysses_v1_Release__Output } from '../../ulysses/v1/Release.js';
import type { Leave as _ulysses_v1_Leave, Leave__Output as _ulysses_v1_Leave__Output } from '../../ulysses/v1/Leave.js';
import type { Long } from '@grpc/proto-loader';

export interface StepsRequest {
  'enterEpoch'?: (_ulysses_v1_EnterEpoch | null);
  'prepare'?: (_ulysses_v1_Prepare | null);
  'abort'?: (_ulysses_v1_Abort | null);
  'commit'?: (_ulysses_v1_Commit | null);
  'release'?: (_ulysses_v1_Release | null);
  'leave'?: (_ulysses_v1_Leave | null);
  /**
   * Of the coordinator's leadership; 0 without one. A rank obeys the newest that it has seen and refuses any older.
   */
  'term'?: (number | string | Long);
  'command'?: "enterEpoch"|"prepare"|"abort"|"commit"|"release"|"leave";
}

export interface StepsRequest__Output {
  'enterEpoch'?: (_ulysses_v1_EnterEpoch__Output | null);
  'prepare'?: (_ulysses_v1_Prepare__Output | null);
  'abort'?: (_ulysses_v1_Abort__Output | null);
  'commit'?: (_ulysses_v1_Commit__Output | null);
  'release'?: (_ulysses_v1_Release__Output | null);
  'leave'?: (_ulysses_v1_Leave__Output | null);
  /**
   * Of the coordinator's leadership; 0 without one. A rank obeys the newest that it has seen and refuses any older.
   */
  'term': (number);
  'command'?: "enterEpoch"|"prepare"|"abort"|"commit"|"release"|"leave";
}
