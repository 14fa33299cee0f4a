import { fieldError } from '@ulysses/errors';
import { ISAS, detectIsa, type Isa } from '@ulysses/native';

/**
 * The instruction set asked for, or the best whose products are those of float32, which AMX's are not. ISAS goes from the widest
 * down, and a machine has all below its best.
 */
export function availableIsa(asked: Isa | null): Isa {
  const available = ISAS.slice(ISAS.indexOf(detectIsa()));
  if (asked === null) return available.find((isa) => isa !== 'amx') ?? 'portable';
  if (available.includes(asked)) return asked;
  throw fieldError('CONFIG', 'isa', asked, `one that this machine has: ${available.join(', ')}`);
}
