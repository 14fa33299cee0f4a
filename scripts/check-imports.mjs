// Checks every import against .dependency-cruiser.cjs, after proving that each rule there fires on a small tree
// that breaks it. Packages must be built: a workspace import resolves to its dist.
import { cruise } from 'dependency-cruiser';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const { forbidden, options } = createRequire(import.meta.url)('../.dependency-cruiser.cjs');
const FOLDERS = ['packages', 'services', 'examples', 'test', 'bench'];

/** A file that breaks one rule: [path, source], or several of them. */
const VIOLATIONS = {
  'errors-imports-downwards': [['packages/errors/src/broken.ts', "import '@ulysses/tensor';"]],
  'tensor-imports-downwards': [['packages/tensor/src/broken.ts', "import '@ulysses/plan';"]],
  'runtime-imports-downwards': [['packages/runtime/src/broken.ts', "import '@ulysses/tensor';"]],
  'plan-imports-downwards': [['packages/plan/src/broken.ts', "import '@ulysses/rpc';"]],
  'native-imports-downwards': [['packages/native/src/broken.ts', "import '@ulysses/rpc';"]],
  'rpc-imports-downwards': [['packages/rpc/src/broken.ts', "import '@ulysses/rendezvous';"]],
  'rendezvous-imports-downwards': [['packages/rendezvous/src/broken.ts', "import '@ulysses/native';"]],
  'client-imports-downwards': [['packages/client/src/broken.ts', "import type {} from '@ulysses/device';"]],
  'exchange-imports-downwards': [['packages/exchange/src/broken.ts', "import '@ulysses/client';"]],
  'device-imports-downwards': [['packages/device/src/broken.ts', "import '@ulysses/exchange';"]],
  'services-are-imported-by-nobody': [
    ['services/cli/src/broken.ts', "import '../../rank/src/step.js';"],
    ['services/rank/src/step.ts', 'export {};'],
  ],
  'examples-test-bench-are-imported-by-nobody': [
    ['packages/client/src/broken.ts', "import '../../../test/support/cluster.js';"],
    ['test/support/cluster.ts', 'export {};'],
  ],
  'no-cycles': [
    ['packages/plan/src/a.ts', "import './b.js';"],
    ['packages/plan/src/b.ts', "import './a.js';"],
  ],
  'no-deep-imports': [
    ['packages/plan/src/broken.ts', "import '../../tensor/src/dtype.js';"],
    ['packages/tensor/src/dtype.ts', 'export {};'],
  ],
  'grpc-only-behind-rpc': [['services/rank/src/broken.ts', "import '@grpc/grpc-js';"]],
  'redis-only-behind-rendezvous': [['services/coordinator/src/broken.ts', "import 'ioredis';"]],
  'prometheus-only-behind-runtime': [['services/rank/src/broken.ts', "import 'prom-client';"]],
  'addon-only-behind-native': [['packages/device/src/broken.ts', "import '../../native/ulysses.node';"]],
  'tests-are-imported-by-nobody': [
    ['packages/plan/src/broken.ts', "import './units.test.js';"],
    ['packages/plan/src/units.test.ts', 'export {};'],
  ],
  'development-tools-only-in-tests': [['packages/plan/src/broken.ts', "import 'fast-check';"]],
  'imports-resolve': [['packages/plan/src/broken.ts', "import './absent.js';"]],
};

/** Names of the rules that the tree under `baseDir` breaks, with the import that breaks each. */
async function violations(baseDir, folders) {
  const { output } = await cruise(
    folders,
    { ...options, baseDir, validate: true, ruleSet: { forbidden } },
    options.enhancedResolveOptions,
  );
  return output.summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to }));
}

async function proveThatRulesFire() {
  const silent = [];
  for (const { name } of forbidden) {
    const files = VIOLATIONS[name];
    if (files === undefined) throw new Error(`rule ${name} has no violation in scripts/check-imports.mjs`);
    const tree = join(root, '.cache', 'import-rules', name);
    rmSync(tree, { recursive: true, force: true });
    for (const [path, source] of files) {
      mkdirSync(dirname(join(tree, path)), { recursive: true });
      writeFileSync(join(tree, path), `${source}\n`);
    }
    const folders = [...new Set(files.map(([path]) => path.split('/')[0]))];
    const fired = (await violations(tree, folders)).some((found) => found.rule === name);
    if (!fired) silent.push(name);
  }
  return silent;
}

const silent = await proveThatRulesFire();
for (const name of silent) console.error(`rule ${name} did not fire on its violation`);

const broken = await violations(root, FOLDERS);
for (const { rule, from, to } of broken) console.error(`${rule}: ${from} -> ${to}`);

if (silent.length + broken.length > 0) process.exit(1);
console.log(`imports: ${forbidden.length} rules proved to fire, no violation`);
