import { readResults, statedResult, type Result } from '../results.js';
import type { Calibration } from './calibrate.js';

const EMPTY = 'CPU time of an empty forward';
/** What the model is told of this machine, as it stands in the results. */
const INPUTS = {
  workers: ['workers', 'cores that compute and copy', 'cores'],
  gflopsPerWorker: ['device', 'kernels in one process, forward and backward', 'GFLOP/CPU-s'],
  localSecondsPerGb: ['copy', 'all-to-all of 4 processes of one host', 'CPU-s/GB'],
  coordinatorMs: ['coordinator', `${EMPTY}: the coordinator’s, what does not grow`, 'ms'],
  coordinatorMsPerMember: ['coordinator per member', `${EMPTY}: the coordinator’s, per rank and owner`, 'ms'],
  rankMs: ['rank', `${EMPTY}: a rank’s, what does not grow`, 'ms'],
  rankMsPerOwner: ['rank per owner', `${EMPTY}: a rank’s, per owner that it hears`, 'ms'],
  ownerMs: ['owner', `${EMPTY}: an owner’s, what does not grow`, 'ms'],
  ownerMsPerRank: ['owner per rank', `${EMPTY}: an owner’s, per rank that it hears`, 'ms'],
} as const satisfies Record<keyof Calibration, readonly [string, string, string]>;

const KEYS = Object.keys(INPUTS) as (keyof Calibration)[];
export const INPUT_GROUP = 'input ';

export function inputResults(calibration: Calibration): Result[] {
  return KEYS.map((key) => {
    const [name, what, unit] = INPUTS[key];
    const limits = { must: null, ambitious: null, lowerIsBetter: true };
    return statedResult({ case: `${INPUT_GROUP}${name}`, what, unit, ...limits }, calibration[key], null);
  });
}

/** As it was measured last. */
export function storedCalibration(): Calibration {
  const results = readResults('scale');
  const read = (key: keyof Calibration): readonly [string, number] => {
    const name = `${INPUT_GROUP}${INPUTS[key][0]}`;
    const found = results.find((result) => result.case === name);
    if (found === undefined) throw new Error(`${name} is not in bench/results/scale.json: measure once`);
    return [key, found.value];
  };
  return Object.fromEntries(KEYS.map(read)) as unknown as Calibration;
}
