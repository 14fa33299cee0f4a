import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { DTYPES, LAYOUTS, type DType, type Layout } from '@ulysses/tensor';
import type { AttentionForm } from './attention/attention.js';
import type { ModelShape } from './model/model.js';

/** What to train, on what, and where its attention runs. */
export interface Options {
  readonly input: string;
  readonly steps: number;
  readonly seed: number;
  readonly learningRate: number;
  readonly threads: number;
  readonly shape: ModelShape;
  readonly form: AttentionForm;
  readonly compare: boolean;
  readonly route: Route;
  /** The cluster may be dialled in plaintext beyond loopback. */
  readonly insecure: boolean;
  readonly cluster: ClusterChoice;
}

const ROUTES = ['auto', 'relay', 'direct'] as const;
export type Route = (typeof ROUTES)[number];

export type ClusterChoice =
  | { readonly kind: 'running'; readonly address: string }
  | { readonly kind: 'own'; readonly settings: ClusterSettings; readonly keepServing: boolean };

export interface ClusterSettings {
  readonly contextParallelSize: number;
  /** Flags of `ulysses up`; null leaves them at its defaults. */
  readonly algo: string | null;
  readonly kvCachePolicy: string | null;
}

interface Flags {
  readonly input: string;
  readonly contextParallelSize: number;
  readonly contextParallelAlgo?: string;
  readonly contextParallelKvCachePolicy?: string;
  readonly address?: string;
  readonly insecure?: true;
  readonly route: Route;
  readonly keepServing?: true;
  readonly compare: boolean;
  readonly steps: number;
  readonly seed: number;
  readonly learningRate: number;
  readonly maxLength: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly dtype: DType;
  readonly layout: Layout;
  readonly window?: number;
  readonly threads: number;
}

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const EXAMPLES = `
Examples:
  npm start                                              four ranks, this repository's own text, 20 steps
  npm start -- --context-parallel-size 3 --steps 50      three ranks, longer
  npm start -- --input ~/notes --keep-serving            your text; the cluster stays up until Ctrl-C
  npm start -- --address 127.0.0.1:7400 --no-compare     a cluster that runs already
  npm start -- --heads 5 --kv-heads 1 --max-length 333   sizes that divide nothing
  npm start -- --dtype bf16 --layout thd --window 256    16-bit attention over packed rows, each seeing 256 before it`;

/** Reads the command line; prints and exits on --help and on a wrong flag. */
export function parseOptions(argv: readonly string[]): Options {
  const command = new Command('train-text')
    .description(
      'Trains a small byte-level causal language model on text files. The attention of every layer and step, forward ' +
        'and backward, runs on a context-parallel cluster at whatever length the text has.',
    )
    .addOption(
      new Option('--input <path>', 'text file or folder to train on').default(
        REPOSITORY,
        "this repository's own text",
      ),
    )
    .option('--context-parallel-size <n>', 'ranks of the cluster that is started', countFrom(2), 4)
    .option('--context-parallel-algo <name>', 'of the cluster; see `ulysses up --help`')
    .option('--context-parallel-kv-cache-policy <policy>', 'of the cluster; see `ulysses up --help`')
    .addOption(
      new Option('--address <host:port>', 'use a running cluster instead of starting one').conflicts([
        'contextParallelSize',
        'contextParallelAlgo',
        'contextParallelKvCachePolicy',
        'keepServing',
      ]),
    )
    .option('--insecure', 'dial that cluster in plaintext beyond loopback: the network is trusted')
    .addOption(
      new Option('--route <route>', 'how rows travel: through one rank, or straight to every rank')
        .choices(ROUTES)
        .default('auto'),
    )
    .option('--keep-serving', 'keep the cluster up after the training, until Ctrl-C')
    .option('--no-compare', 'do not train a second time on one device to compare the losses')
    .option('--steps <n>', 'training steps, one text or part of one each', countFrom(1), 20)
    .option('--seed <n>', 'of the initial weights and of the order of the texts', countFrom(0), 1)
    .option('--learning-rate <x>', 'after the warm-up', positiveNumber, 0.003)
    .option('--max-length <bytes>', 'longest text of a step; longer files are cut', countFrom(1), 2047)
    .option('--layers <n>', 'layers of the model', countFrom(1), 2)
    .option('--heads <n>', 'query heads; need not be a multiple of the ranks', countFrom(1), 6)
    .option('--kv-heads <n>', 'key and value heads; divide the query heads', countFrom(1), 2)
    .option('--head-size <n>', 'elements of a head, at most 256', countFrom(1, 256), 32)
    .addOption(
      new Option('--dtype <dtype>', 'of attention; the rest is float32').choices(DTYPES).default('f32'),
    )
    .addOption(
      new Option('--layout <layout>', 'of the tensors of attention').choices(LAYOUTS).default('sbhd'),
    )
    .option('--window <bytes>', 'how many bytes before it a byte sees; all when absent', countFrom(0))
    .option(
      '--threads <n>',
      'threads of this process; ranks share the cores evenly',
      countFrom(1),
      availableParallelism(),
    )
    .addHelpText('after', EXAMPLES);
  command.parse(argv);
  const flags = command.opts<Flags>();
  if (flags.heads % flags.kvHeads !== 0) {
    command.error(`error: --kv-heads is ${flags.kvHeads}, expected a divisor of --heads ${flags.heads}`);
  }
  return resolve(flags);
}

function resolve(flags: Flags): Options {
  const { input, steps, seed, learningRate, threads, compare, route, dtype, layout } = flags;
  const { layers, heads, kvHeads, headSize, maxLength } = flags;
  const settings: ClusterSettings = {
    contextParallelSize: flags.contextParallelSize,
    algo: flags.contextParallelAlgo ?? null,
    kvCachePolicy: flags.contextParallelKvCachePolicy ?? null,
  };
  return {
    input,
    steps,
    seed,
    learningRate,
    threads,
    compare,
    route,
    insecure: flags.insecure ?? false,
    shape: { layers, heads, kvHeads, headSize, maxLength },
    form: { dtype, layout, window: flags.window ?? null },
    cluster:
      flags.address === undefined
        ? { kind: 'own', settings, keepServing: flags.keepServing ?? false }
        : { kind: 'running', address: flags.address },
  };
}

function countFrom(least: number, most = 2 ** 31 - 1): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (Number.isInteger(count) && count >= least && count <= most && text.trim() !== '') return count;
    throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`);
  };
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above zero.');
}
