import { fieldError } from '@ulysses/errors';
import { ISAS, detectIsa, type Isa } from '@ulysses/native';

/** The instruction set asked for, or the best one. ISAS goes from the widest down, and a machine has all below its best. */
export function availableIsa(asked: Isa | null): Isa {
  const best = detectIsa();
  if (asked === null) return best;
  const available = ISAS.slice(ISAS.indexOf(best));
  if (available.includes(asked)) return asked;
  throw fieldError('CONFIG', 'isa', asked, `one that this machine has: ${available.join(', ')}`);
}
