/** Path of promtool; throws when it is neither on PATH nor can be fetched. */
export function findPromtool(): string;
