// Original file: proto/ulysses/v1/coordinator.proto


export interface DrainRequest {
  'rank'?: (number);
}

export interface DrainRequest__Output {
  'rank': (number);
}
