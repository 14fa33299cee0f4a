// Original file: proto/ulysses/v1/rank.proto


export interface GetRankStatusRequest {
}

export interface GetRankStatusRequest__Output {
}
