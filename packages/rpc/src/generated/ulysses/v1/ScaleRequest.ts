// Original file: proto/ulysses/v1/coordinator.proto


export interface ScaleRequest {
  'cpSize'?: (number);
}

export interface ScaleRequest__Output {
  'cpSize': (number);
}
