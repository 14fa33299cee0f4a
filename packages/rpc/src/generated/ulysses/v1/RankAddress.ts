// Original file: proto/ulysses/v1/coordinator.proto


export interface RankAddress {
  'index'?: (number);
  'member'?: (string);
  'controlAddress'?: (string);
  'tensorAddress'?: (string);
}

export interface RankAddress__Output {
  'index': (number);
  'member': (string);
  'controlAddress': (string);
  'tensorAddress': (string);
}
