// Writes docs/supported.md from the table that refusals are made of; with --check, fails when it is out of date.
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SUPPORTED } from '@ulysses/plan';
import { format } from 'prettier';

const PATH = fileURLToPath(new URL('../docs/supported.md', import.meta.url));

const cell = (text) => text.replaceAll('|', '\\|');
const rows = Object.entries(SUPPORTED).map(
  ([field, { what, accepted, code }]) => `| \`${field}\` | ${cell(what)} | ${cell(accepted)} | \`${code}\` |`,
);
const page = `# What is supported

Any combination of these works, forward and backward, at any number of ranks and owners; \`test/parity\` compares a pairwise
list of them with float64. Everything else is refused by name, with the words of the third column; nothing is ignored.

| Field | What it is | Accepted | Refused with |
| --- | --- | --- | --- |
${rows.join('\n')}

A row that sees no key has \`out\` = 0, LSE = -Infinity and zero gradients. NaN and infinities reach exactly the rows that see
them: padding may hold anything. With 16-bit elements, backward computes from \`out\` as it was rounded, as FlashAttention does: at
scales far above 1 / sqrt(d), where softmax is all but one-hot, gradients carry that rounding.

Made by \`node scripts/write-supported.mjs\` from \`packages/plan/src/supported.ts\`.
`;

const text = await format(page, { parser: 'markdown', printWidth: 140 });
if (!process.argv.includes('--check')) await writeFile(PATH, text);
else if ((await readFile(PATH, 'utf8').catch(() => '')) !== text) {
  console.error('docs/supported.md is out of date; run: node scripts/write-supported.mjs');
  process.exitCode = 1;
} else console.log(`supported: ${rows.length} fields match docs/supported.md`);
