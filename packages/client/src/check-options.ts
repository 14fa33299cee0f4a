import { fieldError } from '@ulysses/errors';
import { KEEPS, KV_CACHE_CHOICES, unsupported } from '@ulysses/plan';
import type { AttentionOptions } from './attention-options.js';

/** Every option there is; the compiler sees to it. */
const NAMES: Readonly<Record<keyof AttentionOptions, true>> = {
  gatherSizeCalculator: true,
  causal: true,
  mask: true,
  scale: true,
  strategy: true,
  keep: true,
  kvCachePolicy: true,
  kvCachePolicyUnaligned: true,
  kvCacheBudgetBytes: true,
  dropout: true,
  bias: true,
};

/** Nothing is ignored: what cannot be done, and what callers without a compiler misspell, is refused by name. */
export function checkAttentionOptions(options: AttentionOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (Object.hasOwn(NAMES, name) || value === undefined) continue;
    throw fieldError(
      'UNSUPPORTED',
      name,
      typeof value,
      `one of the options ${Object.keys(NAMES).join(', ')}`,
    );
  }
  const { keep, kvCachePolicy: policy, kvCacheBudgetBytes: budget } = options;
  if (keep !== undefined && !KEEPS.includes(keep)) throw unsupported('keep', keep);
  if (policy !== undefined && !KV_CACHE_CHOICES.includes(policy)) throw unsupported('kvCachePolicy', policy);
  if (budget !== undefined && !(Number.isSafeInteger(budget) && budget >= 0)) {
    throw unsupported('kvCacheBudgetBytes', budget);
  }
  if ((options.dropout ?? 0) !== 0) throw unsupported('dropout', options.dropout);
  if (options.bias !== undefined && options.bias !== null) throw unsupported('bias', 'a tensor');
}
