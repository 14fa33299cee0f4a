/** The path of Helm, from PATH or from the cache of `node scripts/find-helm.mjs --install`; null when there is none. */
export function findHelm(): string | null;
