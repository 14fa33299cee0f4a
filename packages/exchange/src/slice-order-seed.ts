/**
 * For tests which prove that results do not depend on the order in which slices arrive: with a seed, a step's slices are held
 * back until all are there, and leave shuffled. Every process of a cluster, trainers too, takes it from its environment, where
 * no user's options lead; null anywhere else.
 */
export function sliceOrderSeed(): number | null {
  // eslint-disable-next-line no-restricted-properties -- no setting of a service, and one place for trainers and ranks
  const text = process.env['ULYSSES_TEST_SLICE_ORDER_SEED'] ?? '';
  return /^\d+$/.test(text) ? Number(text) : null;
}
