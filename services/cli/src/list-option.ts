import type { Option } from '@ulysses/runtime';

/** Integers of at least 0, written `9,21,15`; null when not given. */
export function listOption(
  spec: Pick<Option<unknown>, 'flag' | 'env' | 'help'>,
): Option<readonly number[] | null> {
  return {
    ...spec,
    valueName: 'N,N,...',
    expected: 'integers of at least 0 between commas, such as 9,21,15',
    parse: (text) => (/^\d+(,\d+)*$/.test(text) ? text.split(',').map(Number) : null),
    fallback: { value: null, text: 'none' },
  };
}
