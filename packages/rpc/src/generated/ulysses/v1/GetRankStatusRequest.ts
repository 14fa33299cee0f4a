// Original file: proto/ulysses/v1/rank.proto


export interface GetRankStatusRequest {
  /**
   * As in GetStatusRequest.
   */
  'trace'?: (string);
}

export interface GetRankStatusRequest__Output {
  /**
   * As in GetStatusRequest.
   */
  'trace': (string);
}
