/** Bytes of one slice of an uneven all-to-all; `peers/gloo_all_to_all.py` has the same formula. */
export function sliceBytes(source: number, destination: number, members: number, mib: number): number {
  const weight = (s: number, d: number): number => 3 + ((s * 7 + d * 5) % 3);
  let total = 0;
  for (let d = 0; d < members; d++) total += weight(source, d);
  return 4 * Math.floor((((mib * 2 ** 20) / 4) * weight(source, destination)) / total);
}

/** Bytes that leave their process, over all members. */
export function movedBytes(members: number, mib: number): number {
  let bytes = 0;
  for (let source = 0; source < members; source++) {
    for (let destination = 0; destination < members; destination++) {
      if (source !== destination) bytes += sliceBytes(source, destination, members, mib);
    }
  }
  return bytes;
}
