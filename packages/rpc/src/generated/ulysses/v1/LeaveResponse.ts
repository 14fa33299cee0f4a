// Original file: proto/ulysses/v1/rendezvous.proto


export interface LeaveResponse {
}

export interface LeaveResponse__Output {
}
