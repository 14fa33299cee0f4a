// Original file: proto/ulysses/v1/rendezvous.proto


export interface RevokeResponse {
}

export interface RevokeResponse__Output {
}
