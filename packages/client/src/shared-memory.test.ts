import { expect, it } from 'vitest';
import { connect, type ClusterWarning } from './cluster.js';

/** Nobody is called before the first step. */
const address = '127.0.0.1:1';

it('an earlier connection of the process decides how much memory is shared, and a later one hears so when it asked for more', async () => {
  const warnings: ClusterWarning[] = [];
  const warningsOf = async (options: { sharedBytes?: number; transport?: 'tcp' }): Promise<string[]> => {
    warnings.length = 0;
    const connection = await connect({ address, ...options, onWarning: (warning) => warnings.push(warning) });
    await connection.close();
    return warnings.map(({ kind }) => kind);
  };
  // The first one; less than a huge page is no other size.
  expect(await warningsOf({ sharedBytes: 2 ** 22 - 5 })).toEqual([]);
  expect(await warningsOf({ sharedBytes: 2 ** 23 })).toEqual(['shared-memory']);
  expect(warnings[0]!.message).toBe(
    'sharedBytes is 8388608, but this process shares 4194304 bytes with ranks: an earlier connection decided',
  );
  // As asked, not asked, asked for none, no such links.
  expect(await warningsOf({ sharedBytes: 2 ** 22 })).toEqual([]);
  expect(await warningsOf({})).toEqual([]);
  expect(await warningsOf({ sharedBytes: 0 })).toEqual([]);
  expect(await warningsOf({ sharedBytes: 2 ** 23, transport: 'tcp' })).toEqual([]);
});
