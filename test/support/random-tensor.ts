/** A stream of standard normal numbers that a seed names (xorshift32, Box-Muller). */
export function normals(seed: number): () => number {
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return (state + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** `length` standard normal float32 values; the same seed gives the same values. */
export function randomTensor(length: number, seed: number): Float32Array<ArrayBuffer> {
  const next = normals(seed);
  return new Float32Array(length).map(next);
}
