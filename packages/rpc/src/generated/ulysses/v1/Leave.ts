// Original file: proto/ulysses/v1/rank.proto


/**
 * The rank is to end: it says `leaving`, as it also does on SIGTERM.
 */
export interface Leave {
}

/**
 * The rank is to end: it says `leaving`, as it also does on SIGTERM.
 */
export interface Leave__Output {
}
