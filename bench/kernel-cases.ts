import type { Mask } from '@ulysses/plan';
import type { DType } from '@ulysses/tensor';
import type { AttentionShape } from './kernel-attention.js';
import type { Target } from './results.js';

export type Pass = 'forward' | 'backward';

/** One line against PyTorch's `scaled_dot_product_attention`, one thread each. */
export interface KernelCase {
  readonly pass: Pass;
  readonly shape: AttentionShape;
  readonly causal: boolean;
  readonly target: Target;
}

const HEADS = 8;
const SHORT: Readonly<Record<Pass, string>> = { forward: 'fwd', backward: 'bwd' };
const FULL: Mask = { left: null, right: null, segments: null, validRanges: null };
export const CAUSAL: Mask = { ...FULL, right: 0 };

/** The targets were set for a machine with AVX-512 and its bfloat16 products. */
const TARGETS: Readonly<Record<DType, Readonly<Record<Pass, readonly [must: number, ambitious: number]>>>> = {
  f32: { forward: [1.2, 1.35], backward: [1.2, 1.4] },
  bf16: { forward: [2, 2.6], backward: [1.5, 2] },
  f16: { forward: [1.6, 1.9], backward: [8, 12] },
};
const SHORT_TARGETS = { f32: [1.5, 1.8], bf16: [2, 3] } as const;

export function kernelCases(all: boolean): KernelCase[] {
  const dtypes: readonly DType[] = ['f32', 'bf16', 'f16'];
  const passes: readonly Pass[] = ['forward', 'backward'];
  const cases: KernelCase[] = [];
  for (const dtype of dtypes) {
    for (const pass of passes) {
      for (const s of [4096, 8190, 8192]) {
        for (const d of [64, 128]) {
          for (const causal of [true, false]) {
            for (const kvHeads of [8, 2]) {
              // PyTorch takes minutes for the rest of the 16-bit ones.
              const usual =
                dtype === 'f32'
                  ? s === 4096 || (d === 64 && causal && kvHeads === 8)
                  : s === 4096 && causal && kvHeads === 8;
              if (all || usual)
                cases.push(kernelCase(dtype, pass, s, d, causal, kvHeads, TARGETS[dtype][pass]));
            }
          }
        }
      }
    }
  }
  for (const dtype of ['f32', 'bf16'] as const) {
    for (const d of [64, 128])
      cases.push(kernelCase(dtype, 'forward', 1024, d, true, 8, SHORT_TARGETS[dtype]));
  }
  return cases;
}

function kernelCase(
  dtype: DType,
  pass: Pass,
  s: number,
  d: number,
  causal: boolean,
  kvHeads: number,
  [must, ambitious]: readonly [number, number],
): KernelCase {
  const shape = { dtype, s, d, heads: HEADS, kvHeads, mask: causal ? CAUSAL : FULL };
  const name = `${dtype} ${SHORT[pass]} s=${s} d=${d} ${causal ? 'causal' : 'full'} h=${HEADS} kv=${kvHeads}`;
  const target: Target = {
    case: name,
    what: `attention ${pass}, one thread, against PyTorch`,
    unit: 'GFLOP/CPU-s',
    must,
    ambitious,
    lowerIsBetter: false,
  };
  return { pass, shape, causal, target };
}

/** Two measurements of our own kernels against each other; each takes what `quantity` says per call. */
export interface OwnCase {
  readonly pass: Pass;
  readonly shape: AttentionShape;
  readonly over: AttentionShape;
  readonly threads: readonly [of: number, over: number];
  /** Useful GFLOP per CPU-second; per second of the clock, where threads differ; or CPU time per row. */
  readonly quantity: 'rate' | 'clock' | 'row';
  readonly target: Target;
}

const PACKED = [9001, 17, 1, 0, 333];

export function ownCases(): OwnCase[] {
  const base: AttentionShape = { dtype: 'f32', s: 8192, d: 64, heads: 2, kvHeads: 2, mask: FULL };
  const short = { ...base, s: 4096, mask: CAUSAL };
  const causal = { ...base, mask: CAUSAL };
  const cuSeqlens = PACKED.reduce<number[]>((sums, length) => [...sums, sums.at(-1)! + length], [0]);
  const segments = { cuSeqlensQ: cuSeqlens, cuSeqlensKv: cuSeqlens };
  const packed = { ...base, s: cuSeqlens.at(-1)!, mask: { ...FULL, segments } };
  const found: OwnCase[] = [];
  const add = (
    name: string,
    what: string,
    [shape, over]: readonly [AttentionShape, AttentionShape],
    [must, ambitious]: readonly [number, number],
    quantity: OwnCase['quantity'] = 'rate',
  ): void => {
    for (const pass of ['forward', 'backward'] as const) {
      const unit = { rate: 'GFLOP/CPU-s', clock: 'GFLOP/s', row: 'CPU-µs' }[quantity];
      const lowerIsBetter = quantity === 'row';
      const target = { case: `${name} ${SHORT[pass]}`, what, unit, must, ambitious, lowerIsBetter };
      found.push({ pass, shape, over, threads: quantity === 'clock' ? [2, 1] : [1, 1], quantity, target });
    }
  };
  add('2 threads', 'two threads over one, s = 8192, d = 64, causal', [causal, causal], [1.8, 1.95], 'clock');
  const unaligned = { ...causal, s: 8190 };
  add(
    's=8190',
    'time per row over that at s = 8192, d = 64, causal',
    [unaligned, causal],
    [1.01, 1.005],
    'row',
  );
  const rate = 'useful FLOP rate over the full-mask rate at s = 8192, d = 64';
  const window = (left: number): AttentionShape => ({ ...base, mask: { ...CAUSAL, left } });
  add('window 256', rate, [window(255), base], [0.5, 0.65]);
  add('window 1024', rate, [window(1023), base], [0.7, 0.85]);
  add(`packed [${PACKED.join(', ')}]`, rate, [packed, base], [0.8, 0.92]);
  for (const [d, next] of [
    [40, 64],
    [80, 128],
    [96, 128],
  ] as const) {
    const what = `FLOP rate over that of d = ${next}, s = 4096, causal`;
    add(
      `d=${d}`,
      what,
      [
        { ...short, d },
        { ...short, d: next },
      ],
      [0.7, 0.9],
    );
  }
  return found;
}

export const EVENT_LOOP: Target = {
  case: 'event loop',
  what: 'p99 of the event loop’s delay during kernels of seconds, 10 s in all',
  unit: 'ms',
  must: 20,
  ambitious: 5,
  lowerIsBetter: true,
};
