import { randomUUID } from 'node:crypto';
import type { WholeResult } from '../support/cluster-step.js';
import { shareOf } from '../support/share-of.js';
import { INPUT_SEED } from './expected-bits.js';
import { SILENT_PEER_MS, type FaultCluster } from './fault-cluster.js';
import { strike, type Strike } from './strike.js';
import { expectCause, failuresOf } from './expect-cause.js';
import type { RedisUnderTest } from './redis-under-test.js';
import { drawScenario, SMALL_SHAPE, type Scenario } from './scenario.js';
import type { CommandOutcome, TrainerCommand, TrainerWorker } from '../support/trainer-worker.js';

/** Longest that a call of a trainer may take beyond its deadline. */
const LATE_MS = 2_000;

interface Owner {
  readonly index: number;
  readonly begin: number;
  readonly end: number;
  readonly trainer: TrainerWorker;
}

/**
 * One run: a forward and a backward, in one of which something fails. Every owner gets the right bits, or within its
 * deadline an error that names the cause; then all of it once more, undisturbed. Afterwards the cluster is at rest.
 */
export async function playScenario(
  scenario: Scenario,
  cluster: FaultCluster,
  redis: RedisUnderTest,
  expected: WholeResult,
): Promise<void> {
  const disturbed = new Steps(scenario, cluster, expected);
  const fault = await strike(scenario, cluster, redis);
  try {
    await disturbed.connect(fault.address);
    const whole = await disturbed.run(fault);
    await fault.happens();
    await fault.mend();
    await disturbed.close();
    cluster.replaceTrainers();
    if (!whole) await undisturbed(scenario, cluster, expected);
    await cluster.atRest();
    await redis.expectKeysOf(cluster.name);
  } finally {
    await fault.mend();
  }
}

/** A step of all four trainers on a new cluster, whose descriptors at rest are the level from then on. */
export async function warmUp(cluster: FaultCluster, expected: WholeResult): Promise<void> {
  const shape = SMALL_SHAPE;
  const rows = Math.floor(shape.rows / 4);
  const splits = [rows, rows, rows, shape.rows - 3 * rows];
  await undisturbed({ ...drawScenario(0), shape, splits, route: 'direct' }, cluster, expected);
  await cluster.atRest();
}

/** A forward and a backward of the scenario's owners in which nothing fails; throws unless all bits are right. */
export async function undisturbed(
  scenario: Scenario,
  cluster: FaultCluster,
  expected: WholeResult,
): Promise<void> {
  const again = new Steps(scenario, cluster, expected);
  await again.connect(cluster.addresses);
  const whole = await again.run(null);
  if (!whole) throw new Error('an undisturbed step failed');
  await again.close();
}

/** All owners' forward and backward under one session. */
class Steps {
  readonly #scenario: Scenario;
  readonly #expected: WholeResult;
  readonly #owners: readonly Owner[];
  readonly #cluster: FaultCluster;

  constructor(scenario: Scenario, cluster: FaultCluster, expected: WholeResult) {
    this.#scenario = scenario;
    this.#cluster = cluster;
    this.#expected = expected;
    const { splits } = scenario;
    this.#owners = splits.map((rows, index) => {
      const begin = splits.slice(0, index).reduce((sum, before) => sum + before, 0);
      return { index, begin, end: begin + rows, trainer: cluster.trainers[index]! };
    });
  }

  async connect(address: string): Promise<void> {
    const { splits, route, transport } = this.#scenario;
    const session = randomUUID();
    await this.#tellAll(({ index }) => ({
      kind: 'connect',
      options: {
        address,
        session,
        ownerIndex: index,
        ownerCount: splits.length,
        route,
        transport,
        deadlineMs: deadlineOf(this.#scenario),
        silentPeerMs: SILENT_PEER_MS,
      },
    }));
  }

  /** Whether both passes gave every owner its result; `fault` is armed for one of them. */
  async run(fault: Strike | null): Promise<boolean> {
    for (const pass of ['forward', 'backward'] as const) {
      const struck = fault !== null && pass === this.#scenario.pass;
      const outcomes = struck ? await this.#struck(pass, fault) : await this.#pass(pass, this.#owners);
      const failures = outcomes.flatMap((outcome) => (outcome === null ? [] : failuresOf(outcome)));
      if (struck) expectCause(this.#scenario, fault.suspect, outcomes);
      else if (fault === null && failures.length > 0)
        throw new Error(`an undisturbed ${pass} failed: ${JSON.stringify(failures)}`);
      this.#expectInTime(outcomes);
      this.#expectBits(pass, outcomes);
      if (outcomes.some((outcome) => outcome === null || outcome.error !== null)) return false;
    }
    return true;
  }

  async close(): Promise<void> {
    await this.#tellAll(() => ({ kind: 'close' }));
  }

  async #struck(pass: Scenario['pass'], fault: Strike): Promise<(CommandOutcome | null)[]> {
    if (this.#scenario.phase !== 'agree') {
      await fault.arm(this.#owners.map(({ trainer }) => trainer));
      return await this.#pass(pass, this.#owners);
    }
    // All but one have called, and wait for it.
    const late = this.#owners.at(this.#scenario.owner === this.#owners.length - 1 ? 0 : -1)!;
    const early = this.#owners.filter((owner) => owner !== late);
    const waiting = this.#pass(pass, early);
    if (early.length > 0) await this.#cluster.untilStepIsKnown();
    await fault.now(this.#owners.map(({ trainer }) => trainer));
    const last = await this.#pass(pass, [late]);
    const outcomes = [...(await waiting), ...last];
    const order = [...early, late].map(({ index }) => index);
    return this.#owners.map(({ index }) => outcomes[order.indexOf(index)]!);
  }

  async #pass(pass: Scenario['pass'], owners: readonly Owner[]): Promise<(CommandOutcome | null)[]> {
    const { shape, keep } = this.#scenario;
    return await Promise.all(
      owners.map(({ trainer, begin, end }) =>
        trainer.tell(
          pass === 'backward'
            ? { kind: 'backward' }
            : { kind: 'forward', shape, seed: INPUT_SEED, begin, end, attention: { causal: true, keep } },
        ),
      ),
    );
  }

  #expectInTime(outcomes: readonly (CommandOutcome | null)[]): void {
    const limitMs = deadlineOf(this.#scenario) + LATE_MS;
    outcomes.forEach((outcome, index) => {
      if (outcome !== null && outcome.ms > limitMs)
        throw new Error(`owner ${index} waited ${outcome.ms} ms, its deadline was ${limitMs - LATE_MS} ms`);
    });
  }

  #expectBits(pass: Scenario['pass'], outcomes: readonly (CommandOutcome | null)[]): void {
    for (const { index, begin, end } of this.#owners) {
      const outcome = outcomes[index];
      if (outcome === null || outcome === undefined || outcome.error !== null) continue;
      const share = shareOf(this.#expected, this.#scenario.shape, pass, begin, end);
      share.forEach((tensor, which) => {
        const actual = outcome.tensors[which]!;
        if (Buffer.compare(bytesOf(actual), bytesOf(tensor)) !== 0)
          throw new Error(`tensor ${which} of ${pass} of owner ${index} has other bits`);
      });
    }
  }

  async #tellAll(command: (owner: Owner) => TrainerCommand): Promise<void> {
    await Promise.all(
      this.#owners.map(async (owner) => {
        if (!owner.trainer.alive) return;
        const outcome = await owner.trainer.tell(command(owner));
        if (outcome !== null && outcome.error !== null)
          throw new Error(`owner ${owner.index}: ${JSON.stringify(outcome.error)}`);
      }),
    );
  }
}

/** Long enough for a lease to end and a replacement to come; where nobody can come, as short as a trainer may be patient. */
function deadlineOf({ victim, splits }: Scenario): number {
  return victim === 'trainer' && splits.length > 1 ? 8_000 : victim === 'partition' ? 18_000 : 30_000;
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
