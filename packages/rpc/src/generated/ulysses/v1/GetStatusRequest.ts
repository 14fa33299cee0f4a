// Original file: proto/ulysses/v1/coordinator.proto


export interface GetStatusRequest {
  /**
   * Which step's trace is wanted: the beginning of `job/session/call/pass/attempt`, whole parts of it, or `last`. Empty: none.
   */
  'trace'?: (string);
}

export interface GetStatusRequest__Output {
  /**
   * Which step's trace is wanted: the beginning of `job/session/call/pass/attempt`, whole parts of it, or `last`. Empty: none.
   */
  'trace': (string);
}
