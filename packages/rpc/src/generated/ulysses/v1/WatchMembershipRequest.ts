// Original file: proto/ulysses/v1/coordinator.proto


export interface WatchMembershipRequest {
}

export interface WatchMembershipRequest__Output {
}
