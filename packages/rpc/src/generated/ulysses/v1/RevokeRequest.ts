// Original file: proto/ulysses/v1/rendezvous.proto


export interface RevokeRequest {
  'member'?: (string);
}

export interface RevokeRequest__Output {
  'member': (string);
}
