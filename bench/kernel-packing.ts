import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { foldPartials, Region } from '@ulysses/native';
import { elementBytes, type DType } from '@ulysses/tensor';
import type { Target } from './results.js';
import type { Window } from './windows.js';

const PACKING = fileURLToPath(
  new URL('../../packages/native/target/release/examples/packing', import.meta.url),
);
/** Far more bytes than caches hold. */
const ROWS = 1 << 18;
const HEAD_SIZE = 64;

/** What the exchange does to rows beside moving them, over a copy of as many bytes: one thread, GB per CPU-second. */
export interface PackingCase {
  readonly target: Target;
  /** The first window warms memory, and is not among the results. */
  readonly measure: (windows: number) => Promise<Window[]>;
}

export function packingCases(): PackingCase[] {
  return [
    {
      target: target('pack', 'rows of one head among 8, 128 bytes each, gathered into chunks, over memcpy'),
      measure: (windows) => Promise.resolve(measureRows('pack', windows)),
    },
    {
      target: target('unpack', 'chunks placed as rows of one head among 8, 128 bytes each, over memcpy'),
      measure: (windows) => Promise.resolve(measureRows('unpack', windows)),
    },
    ...(['bf16', 'f16'] as const).map((dtype): PackingCase => {
      const what = `float32 partial gradients rounded to ${dtype}, over memcpy of as many bytes`;
      return { target: target(`f32 to ${dtype}`, what), measure: (windows) => measureFold(dtype, windows) };
    }),
  ];
}

function target(name: string, what: string): Target {
  return { case: name, what, unit: 'GB/CPU-s', must: 0.7, ambitious: 0.9, lowerIsBetter: false };
}

/** The tensor plane's own code, in a process of its own. */
function measureRows(of: 'pack' | 'unpack', windows: number): Window[] {
  const lines = execFileSync(PACKING, [String(windows + 1)], { encoding: 'utf8' })
    .trim()
    .split('\n');
  return lines.slice(1).map((line) => {
    const rates = JSON.parse(line) as Readonly<Record<'pack' | 'unpack' | 'copy', number>>;
    return { value: rates[of], peer: rates.copy };
  });
}

async function measureFold(dtype: DType, windows: number): Promise<Window[]> {
  const elements = ROWS * HEAD_SIZE;
  const partial = Region.allocate(elements * 4);
  const folded = Region.allocate(elements * elementBytes(dtype));
  // A copy reads and writes as many bytes as are read and written here.
  const moved = elements * (4 + elementBytes(dtype));
  const [from, to] = [Region.allocate(moved / 2), Region.allocate(moved / 2)];
  partial.float32().fill(0.37);
  from.bytes.fill(7);
  const rows = (region: Region): { region: Region; offsetBytes: number; rowStride: number } => ({
    region,
    offsetBytes: 0,
    rowStride: HEAD_SIZE,
  });
  const job = { dtype, headSize: HEAD_SIZE, rows: ROWS, target: rows(folded), partials: [rows(partial)] };
  const found: Window[] = [];
  for (let window = 0; window <= windows; window++) {
    const value = moved / 1e9 / (await cpuSeconds(() => foldPartials(job)));
    const peer = moved / 1e9 / (await cpuSeconds(() => to.bytes.set(from.bytes)));
    if (window > 0) found.push({ value, peer });
  }
  for (const region of [partial, folded, from, to]) region.free();
  return found;
}

/** CPU time of this process: its other threads have nothing to do. */
async function cpuSeconds(run: () => Promise<void> | void): Promise<number> {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
