// Original file: proto/ulysses/v1/coordinator.proto


export interface Committed {
}

export interface Committed__Output {
}
