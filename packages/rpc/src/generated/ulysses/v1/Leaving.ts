// Original file: proto/ulysses/v1/rank.proto


/**
 * The rank wants to leave. It serves until the coordinator, when running steps are through, has ended its lease and this
 * stream.
 */
export interface Leaving {
}

/**
 * The rank wants to leave. It serves until the coordinator, when running steps are through, has ended its lease and this
 * stream.
 */
export interface Leaving__Output {
}
