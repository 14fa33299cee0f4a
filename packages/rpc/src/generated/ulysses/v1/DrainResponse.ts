// Original file: proto/ulysses/v1/coordinator.proto


export interface DrainResponse {
}

export interface DrainResponse__Output {
}
