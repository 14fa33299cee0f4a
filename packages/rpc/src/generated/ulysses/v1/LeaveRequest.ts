// Original file: proto/ulysses/v1/rendezvous.proto


export interface LeaveRequest {
  'member'?: (string);
}

export interface LeaveRequest__Output {
  'member': (string);
}
