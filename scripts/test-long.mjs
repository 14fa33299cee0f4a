// The tests that run as long as they are told to: `npm run test:faults`, `test:fuzz` and `test:soak`. Each is also part of `npm test`, short.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

/** Options: what they are, their default, and the variable by which the test file hears of them. */
const TESTS = {
  faults: {
    files: ['test/fault/campaign.test.ts'],
    about:
      'Every run is shown with its seed and with what happens in it; one that fails says how to repeat it alone.',
    options: {
      runs: ['How many runs.', '10', 'ULYSSES_TEST_FAULT_RUNS'],
      seed: [
        "Seed of the first; every run has its own, the next one's is one more.",
        '1',
        'ULYSSES_TEST_FAULT_SEED',
      ],
    },
  },
  fuzz: {
    files: ['test/fault/fuzz.test.ts'],
    about: 'Mutated messages to every RPC of both ports; the same seed sends the same ones.',
    options: {
      messages: ['How many to each RPC.', '100000', 'ULYSSES_TEST_FUZZ_MESSAGES'],
      seed: ['What they are made from.', '1', 'ULYSSES_TEST_FUZZ_SEED'],
    },
  },
  soak: {
    files: ['test/fault/soak.test.ts', 'test/cluster/memory.test.ts'],
    about:
      'Steps, and ranks that are killed and replaced; then memory, descriptors and keys are compared. After that small steps alone.',
    options: {
      minutes: ['How long.', '60', 'ULYSSES_TEST_SOAK_MINUTES'],
      steps: ['How many small steps.', '10000', 'ULYSSES_TEST_SMALL_STEPS'],
    },
  },
};

const [name, ...rest] = process.argv.slice(2);
const test = TESTS[name];
if (test === undefined) {
  console.error(`test is ${name}, expected one of ${Object.keys(TESTS).join(', ')}`);
  process.exit(2);
}
const options = Object.fromEntries(
  Object.entries(test.options).map(([option, [, otherwise]]) => [
    option,
    { type: 'string', default: otherwise },
  ]),
);
const { values } = parseArgs({ args: rest, options: { ...options, help: { type: 'boolean', short: 'h' } } });
if (values.help) {
  console.log(`npm run test:${name} -- [options]\n`);
  for (const [option, [what, otherwise]] of Object.entries(test.options)) {
    console.log(`  --${option} N`.padEnd(16) + `${what} [default: ${otherwise}]`);
  }
  console.log(`\n${test.about}`);
  process.exit(0);
}
const env = { ...process.env };
for (const [option, [, , variable]] of Object.entries(test.options)) {
  if (!/^\d+$/.test(values[option])) {
    console.error(`--${option} is ${values[option]}, expected a whole number`);
    process.exit(2);
  }
  env[variable] = values[option];
}
const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--reporter', 'verbose', ...test.files];
const { status } = spawnSync(process.execPath, vitest, { stdio: 'inherit', env });
process.exit(status ?? 1);
