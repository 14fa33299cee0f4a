import { availableParallelism } from 'node:os';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';

/** A group of test files; groups run one after the other, in the order given. */
function project(
  name: string,
  groupOrder: number,
  maxWorkers: number,
  include: string[],
): TestProjectInlineConfiguration {
  const exclude = ['**/node_modules/**', '**/dist/**', '**/target/**'];
  const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 };
  return {
    test: { name, include, exclude, ...timeouts, pool: 'forks', maxWorkers, sequence: { groupOrder } },
  };
}

const cores = Math.min(2, availableParallelism());

export default defineConfig({
  test: {
    reporters: ['default', './test/support/end-line-reporter.ts'],
    projects: [
      project('units', 0, cores, [
        'packages/*/src/**/*.test.ts',
        'services/*/src/**/*.test.ts',
        'examples/**/src/**/*.test.ts',
        'bench/**/*.test.ts',
        'test/support/**/*.test.ts',
      ]),
      // These start clusters of real processes and hold them to deadlines: a second file would take their cores.
      project('processes', 1, 1, ['test/{cluster,fault}/**/*.test.ts']),
      // These too, but all they wait for is a right result, and one file's reference runs while the other's cluster does.
      project('parity', 2, cores, ['test/parity/**/*.test.ts']),
    ],
  },
});
