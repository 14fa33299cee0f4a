// Original file: proto/ulysses/v1/coordinator.proto


export interface SettleStepResponse {
  /**
   * Every row is placed everywhere; otherwise the step has to be attempted again.
   */
  'committed'?: (boolean);
}

export interface SettleStepResponse__Output {
  /**
   * Every row is placed everywhere; otherwise the step has to be attempted again.
   */
  'committed': (boolean);
}
