import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Ends a run with the line `N passed, N failed`, which CI reads. A file or hook that broke outside any test counts
 * as one failure, as does an unhandled error, so that "0 failed" means that everything ran.
 */
class EndLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    let passed = 0;
    let failed = unhandledErrors.length;
    for (const module of modules) {
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed += 1;
        if (state === 'failed') failed += 1;
      }
    }
    process.stdout.write(`${String(passed)} passed, ${String(failed)} failed\n`);
  }
}

// Vitest loads a reporter file by its default export.
export default EndLineReporter;
