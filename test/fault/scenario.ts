import type { InputShape } from '../support/step-inputs.js';
import type { FaultPoint } from '../support/fault-point.js';
import type { Direction } from '../support/one-way-proxy.js';
import { uniforms } from '../support/uniforms.js';

/** Who fails: killed with SIGKILL, stopped with SIGSTOP, or cut off in one direction. */
const VICTIMS = ['rank', 'coordinator', 'trainer', 'redis', 'stopped rank', 'partition'] as const;
/** Where in a step. `agree`: before all owners have called; `prepare`: the plan is known, nothing has moved. */
const PHASES = ['agree', 'prepare', 'transfer', 'compute', 'return', 'commit'] as const;
const PASSES = ['forward', 'backward'] as const;

type Victim = (typeof VICTIMS)[number];
export type Phase = 'agree' | FaultPoint;

/** One run of the campaign, drawn from its seed alone. */
export interface Scenario {
  readonly seed: number;
  readonly victim: Victim;
  readonly phase: (typeof PHASES)[number];
  readonly pass: (typeof PASSES)[number];
  readonly cpSize: number;
  /** Rows of every sequence owner. */
  readonly splits: readonly number[];
  readonly shape: InputShape;
  readonly keep: 'store' | 'recompute';
  readonly route: 'auto' | 'relay' | 'direct';
  readonly transport: 'auto' | 'tcp';
  /** The rank that is the victim, or where the step is when another is. */
  readonly rank: number;
  /** The sequence owner that is the victim. */
  readonly owner: number;
  readonly cut: { readonly port: 'control' | 'tensor'; readonly direction: Direction };
}

/** Ranks of these clusters stand behind proxies, and are reached by TCP alone. */
export const PROXIED_CP_SIZE = 3;

export const SMALL_SHAPE: InputShape = { rows: 97, batch: 1, qHeads: 6, kvHeads: 2, headSize: 32 };
const SHAPES: readonly InputShape[] = [
  SMALL_SHAPE,
  { rows: 61, batch: 2, qHeads: 5, kvHeads: 1, headSize: 16 },
  // Megabytes to every rank, and long enough that the signal finds it at work.
  { rows: 1201, batch: 1, qHeads: 6, kvHeads: 2, headSize: 64 },
];

/** Six seeds in a row have all victims, 36 every victim in every phase. */
export function drawScenario(seed: number): Scenario {
  const random = uniforms(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const oneOf = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const victim = VICTIMS[seed % VICTIMS.length]!;
  const phase = PHASES[(Math.floor(seed / VICTIMS.length) + seed) % PHASES.length]!;
  const drawn = oneOf([2, 3, 4]);
  const cpSize = victim === 'partition' ? PROXIED_CP_SIZE : drawn;
  const shape = oneOf(SHAPES);
  const owners = 1 + below(4);
  const cuts = Array.from({ length: owners - 1 }, () => below(shape.rows + 1)).sort((a, b) => a - b);
  const splits = [...cuts, shape.rows].map((end, owner) => end - (cuts[owner - 1] ?? 0));
  return {
    seed,
    victim,
    phase,
    pass: oneOf(PASSES),
    cpSize,
    splits,
    shape,
    keep: oneOf(['store', 'recompute']),
    route: oneOf(['auto', 'relay', 'direct']),
    transport: oneOf(['auto', 'tcp']),
    rank: below(cpSize),
    owner: below(owners),
    cut: { port: oneOf(['control', 'tensor']), direction: oneOf(['to-server', 'to-client']) },
  };
}

/** `run of seed 7: kill -9 of rank 1 in transfer of backward; 3 ranks, rows 10+0+51 …` */
export function describeScenario(scenario: Scenario): string {
  const { seed, victim, phase, pass, cpSize, splits, shape, keep, route, transport } = scenario;
  const { rank, owner, cut } = scenario;
  const what: Record<Victim, string> = {
    rank: `kill -9 of rank ${rank}`,
    coordinator: 'kill -9 of the coordinator that leads',
    trainer: `kill -9 of trainer ${owner}`,
    redis: 'kill -9 of Redis, which comes back empty',
    'stopped rank': `SIGSTOP of rank ${rank}`,
    partition: `nothing goes ${cut.direction} at the ${cut.port} port of rank ${rank}`,
  };
  const heads = `${shape.qHeads}/${shape.kvHeads} heads`;
  return (
    `seed ${seed}: ${what[victim]} in ${phase} of ${pass}; ${cpSize} ranks, rows ${splits.join('+')}, ` +
    `${heads}, ${keep}, ${route} over ${transport}`
  );
}
