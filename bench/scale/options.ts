import { integerOption, switchOption, type Check, type Option } from '@ulysses/runtime';

/** What can be asked of `npm run bench:scale`. The defaults are the cluster that the documentation shows. */
export const OPTIONS = {
  ranks: {
    flag: 'ranks',
    env: null,
    help: 'Numbers of ranks that are predicted.',
    valueName: 'N,N,...',
    expected: 'integers above 0 between commas, such as 2,64,1024',
    parse: (text) => (/^[1-9]\d*(,[1-9]\d*)*$/.test(text) ? text.split(',').map(Number) : null),
    fallback: {
      value: [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
      text: '2,4,8,16,32,64,128,256,512,1024',
    },
  } satisfies Option<readonly number[]> as Option<readonly number[]>,
  rowsPerRank: count('rows-per-rank', 4096, 'Rows of the sequence, per rank; three fewer in all.'),
  heads: count('heads', 40, 'Query heads.'),
  kvHeads: count('kv-heads', 8, 'Key and value heads; they divide the query heads.'),
  headSize: count('head-size', 128, 'Elements of a head.'),
  linkGbit: quantity('link-gbit', 400, 'Gbit/s of the link of a host, each way; there is one rank per host.'),
  latencyUs: quantity('latency-us', 10, 'Microseconds between two hosts, one way.'),
  messageUs: quantity('message-us', 1, 'Microseconds that a message takes of its link, whatever its size.'),
  deviceTflops: quantity('device-tflops', 400, 'TFLOP/s of the device of a rank.'),
  measure: switchOption({
    flag: 'measure',
    env: null,
    default: true,
    help: 'Measure this machine first; --no-measure takes what was measured last from bench/results/scale.json.',
  }),
};

export const CHECKS: readonly Check<typeof OPTIONS>[] = [
  ({ heads, kvHeads }) =>
    heads % kvHeads === 0 ? [] : [`--kv-heads is ${kvHeads}, expected a divisor of --heads ${heads}`],
];

function count(flag: string, otherwise: number, help: string): Option<number> {
  return integerOption({ flag, env: null, min: 1, default: otherwise, help });
}

function quantity(flag: string, otherwise: number, help: string): Option<number> {
  const expected = 'a number above 0';
  const parse = (text: string): number | null =>
    Number(text) > 0 && Number(text) < Infinity ? Number(text) : null;
  return {
    flag,
    env: null,
    help,
    valueName: 'X',
    expected,
    parse,
    fallback: { value: otherwise, text: String(otherwise) },
  };
}
