import { fieldError } from '@ulysses/errors';
import { ISAS, detectIsa, usualIsa, type Isa } from '@ulysses/native';

/** The instruction set asked for, or the usual one. ISAS goes from the widest down, and a machine has all below its best. */
export function availableIsa(asked: Isa | null): Isa {
  if (asked === null) return usualIsa();
  const available = ISAS.slice(ISAS.indexOf(detectIsa()));
  if (available.includes(asked)) return asked;
  throw fieldError('CONFIG', 'isa', asked, `one that this machine has: ${available.join(', ')}`);
}
