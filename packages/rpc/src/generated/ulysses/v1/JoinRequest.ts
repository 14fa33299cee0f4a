// Original file: proto/ulysses/v1/rendezvous.proto


export interface JoinRequest {
  'member'?: (string);
  'controlAddress'?: (string);
  'tensorAddress'?: (string);
  'protocolVersion'?: (string);
}

export interface JoinRequest__Output {
  'member': (string);
  'controlAddress': (string);
  'tensorAddress': (string);
  'protocolVersion': (string);
}
