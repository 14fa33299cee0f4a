// Original file: proto/ulysses/v1/coordinator.proto


export interface ScaleResponse {
}

export interface ScaleResponse__Output {
}
