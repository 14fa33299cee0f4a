import { OWNERS, RANKS } from '../limited-cluster.js';
import { statedResult, type Result, type Target } from '../results.js';
import { enough, median } from '../windows.js';
import { MEASURED, type MeasuredStep } from './calibrate.js';
import { controlSeconds, type Machine } from './machine.js';
import { LINK_STEP, type MeasuredLink } from './measure-link.js';
import { predictStep } from './predict-step.js';
import type { Workload } from './workload.js';

export const MODEL_GROUP = 'model ';

/** The model against steps of one number of ranks, whole and empty, all processes on this host. */
export function modelOfSteps({ cpSize, stepMs, emptyMs }: MeasuredStep, machine: Machine): Result[] {
  const way = MEASURED.qHeads % cpSize === 0 ? 'heads' : 'balanced';
  const what = `whole step by the model, against the same step measured (${way}, ${shapeOf(MEASURED)}, one host)`;
  const { ms } = predictStep(MEASURED, cpSize, way, machine);
  const empty =
    'empty forward by the model, against the same measured: its inputs are CPU times, this is by the clock';
  const emptyMsByModel = 1000 * controlSeconds(machine, cpSize, cpSize);
  return [
    againstMeasured(`P=${cpSize}`, what, ms, stepMs, [1.25, 1.1]),
    againstMeasured(`P=${cpSize} empty`, empty, emptyMsByModel, emptyMs, [null, null]),
  ];
}

/** The model against steps of a trainer at the other end of a link, at each of its rates. */
export function modelOfLink({ latencySeconds, steps }: MeasuredLink, machine: Machine): Result[] {
  return steps.map(({ bytesPerSecond, stepMs }) => {
    const linked: Machine = {
      ...machine,
      owners: 'apart',
      linkBytesPerSecond: bytesPerSecond,
      latencySeconds,
    };
    const { ms } = predictStep(LINK_STEP, RANKS, 'heads', linked, OWNERS);
    const name = `link ${bytesPerSecond / 1e6} MB/s`;
    const latency = `${(latencySeconds * 1e6).toFixed(0)} µs away`;
    const what = `whole step by the model, against the same step measured (heads, ${shapeOf(LINK_STEP)}, P = ${RANKS}, one owner behind a link, ${latency})`;
    return againstMeasured(name, what, ms, stepMs, [1.25, 1.1]);
  });
}

/** The larger of model and measurement over the smaller is what counts: a model may err on either side. */
function againstMeasured(
  name: string,
  what: string,
  modelled: number,
  windows: readonly number[],
  [must, ambitious]: readonly [number, number] | readonly [null, null],
): Result {
  const target: Target = {
    case: `${MODEL_GROUP}${name}`,
    what,
    unit: 'ms',
    must,
    ambitious,
    lowerIsBetter: true,
  };
  const apart = (measured: number): number =>
    Number((Math.max(modelled, measured) / Math.min(modelled, measured)).toPrecision(4));
  const all = enough(windows)
    .map(apart)
    .sort((a, b) => a - b);
  const measured = median(windows);
  return {
    ...statedResult(target, modelled, measured),
    ratio: apart(measured),
    spread: [all[0]!, all.at(-1)!],
    windows: windows.length,
  };
}

function shapeOf({ rows, qHeads, headSize }: Workload): string {
  return `s = ${rows}, h = ${qHeads}, d = ${headSize}`;
}
