// Original file: proto/ulysses/v1/coordinator.proto


export interface ReleaseResponse {
}

export interface ReleaseResponse__Output {
}
