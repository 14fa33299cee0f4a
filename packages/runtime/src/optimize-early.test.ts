import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

const MODULE = new URL('../dist/optimize-early.js', import.meta.url).href;

it('optimizeEarly sets a flag that this V8 knows: it would complain about others', () => {
  const script = `import { optimizeEarly } from ${JSON.stringify(MODULE)}; optimizeEarly(); console.log('set');`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  });
  expect([stdout, stderr]).toEqual(['set\n', '']);
});
