import { randomUUID } from 'node:crypto';
import { delay } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';
import { runStep } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { levelOf, WITH_FAULT_POINTS, WITH_STRICT_MALLOC } from '../support/fault-point.js';
import { Parts, type Part } from '../support/parts.js';
import { frame, RawGrpc, type RawOutcome } from '../support/raw-grpc.js';
import { stepInputs } from '../support/step-inputs.js';
import { encodeFields, type Fields } from '../support/wire-fields.js';
import { commandCall, commandSeeds, eventsOf, laterEpoch } from './command-seeds.js';
import { fuzz, type FuzzCount, type FuzzOptions } from './fuzz-call.js';
import { LiveSteps } from './live-steps.js';
import {
  DRAIN,
  MEMBERSHIP_CALLS,
  RANK_CALLS,
  STANDARD_CALLS,
  STEP_CALLS,
  TENSOR_CALLS,
  type FuzzedCall,
} from './fuzz-seeds.js';

/** `npm run test:fuzz -- --messages N --seed S` sets them: N to each RPC. */
const MESSAGES = Number(process.env['ULYSSES_TEST_FUZZ_MESSAGES'] ?? 0);
const SEED = Number(process.env['ULYSSES_TEST_FUZZ_SEED'] ?? 1);
/** To each RPC of the control ports and of the tensor port: seconds; the hundred thousands are for `npm run test:fuzz`. */
const CONTROL_MESSAGES = MESSAGES || 1_000;
const TENSOR_MESSAGES = MESSAGES || 2_000;
/** To an RPC that is called once at a time. */
const ONE_LANE_MESSAGES = MESSAGES || 300;
/** A rank without one obeys nobody, and on a machine that starves it a short one is soon lost. */
const LONG_LEASE = '10s';
/** Sent before, so that what is compiled, cached and remembered of ended steps (4096) is there. */
const WARM_UP_PART = 0.55;
/** Of the messages of one that is looked at for more than decoding. */
const REACHED_PART = 0.3;
/** So few do not fill what a coordinator remembers of steps that ended and of what happened in them. */
const MANY_MESSAGES = 10_000;
const REMEMBERED_BYTES = 4 * 2 ** 20;
/** How long a coordinator remembers how a step ended, and the time that it takes to look. */
const REMEMBERED_MS = 65_000;
const COORDINATOR = 'coordinator';
/** Most that a process may hold, of what it held before. */
const GROWTH = 1.05;
/** How long it may hold more, and how often that is looked at: looking costs it a collection. */
const LET_GO_MS = 30_000;
const LOOK_MS = 500;
/** No step runs then. */
const DRAIN_MS = 30_000;
/** How long V8 may keep pages that a collection emptied. */
const GIVEN_BACK_MS = 30_000;
const TIMEOUT = {
  timeout: 120_000 + 2 * (REMEMBERED_MS + GIVEN_BACK_MS) + 150 * Math.max(CONTROL_MESSAGES, TENSOR_MESSAGES),
};

const INPUTS = stepInputs({ rows: 37, batch: 1, qHeads: 3, kvHeads: 1, headSize: 16 }, 4);
const STEP = { splits: [37], attention: { causal: true } };

let redis: RedisProcess;
let parts: Parts;
let coordinator: Part;
let ranks: Part[];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(async () => {
  const collectOften = `--import ${new URL('../support/collect-often.mjs', import.meta.url).href}`;
  parts = new Parts({
    rendezvous: `redis://127.0.0.1:${redis.port}`,
    cluster: randomUUID(),
    env: { ...WITH_STRICT_MALLOC, NODE_OPTIONS: `${WITH_FAULT_POINTS.NODE_OPTIONS} ${collectOften}` },
  });
  ranks = [];
});
afterEach(() => parts.stop());

async function startCoordinator(lease = '2s'): Promise<void> {
  coordinator = await parts.coordinator(2, '--lease', lease);
}

async function startRanks(): Promise<void> {
  ranks = await parts.ranks(2);
  await parts.ready(coordinator.address, 2);
}

/** Not only alive: a step gives what it gave before. */
async function serves(): Promise<void> {
  await parts.ready(coordinator.address, 2);
  const { address } = coordinator;
  expectSameBits(await runStep({ address, ...STEP }, INPUTS), await expected(address));
}
let bits: ReturnType<typeof runStep> | null = null;
const expected = (address: string): ReturnType<typeof runStep> =>
  (bits ??= runStep({ address, ...STEP }, INPUTS));

/** Of every process that runs: resident memory without the pages that V8 and the pool of regions keep for later. */
async function heldBytes(): Promise<readonly Held[]> {
  const running = [
    { name: COORDINATOR, child: coordinator.child },
    ...ranks.map(({ child }, rank) => ({ name: `rank ${rank}`, child })),
  ].filter(({ child }) => child.exitCode === null && child.signalCode === null);
  return await Promise.all(
    running.map(async ({ name, child }) => {
      const { nativeBytes, heapBytes } = await levelOf(child);
      return { name, bytes: nativeBytes + heapBytes };
    }),
  );
}

interface Held {
  readonly name: string;
  readonly bytes: number;
}

/** A control port's own words for bytes that are no message, and those of grpc-js. */
const decodedByControl = ({ message }: RawOutcome): boolean => !/do not decode|deserializ/.test(message);

/** The poison was reached, or a slice was understood and refused for what it says. */
const decodedByPlane = ({ message }: RawOutcome): boolean =>
  /^(COMPRESSED|PAYLOAD_NOT_LAST|SLICE_TWICE|MISSING_FIELD|BAD_FIELD)/.test(message);

/**
 * How steps ended is remembered for a minute, until the next one begins; how many did in the last one is not what is compared. What
 * is collected then goes back to the system a while later.
 */
async function forgotten(): Promise<void> {
  const never = new AbortController().signal;
  await delay(REMEMBERED_MS, never);
  await answered(planStepSeeds()[0]!);
  await heldBytes();
  await delay(GIVEN_BACK_MS, never);
}

/** Sends a part first, then all, and compares what the services hold after each. */
async function fuzzAll(
  calls: readonly FuzzedCall[],
  address: string,
  options: Omit<FuzzOptions, 'seed'>,
): Promise<void> {
  const counts = new Map<string, FuzzCount>();
  const pass = async (part: number, seed: number): Promise<void> => {
    for (const call of calls) {
      const messages = Math.ceil((call.lanes === 1 ? ONE_LANE_MESSAGES : options.messages) * part);
      counts.set(call.path, await fuzz(address, call, { ...options, messages, seed }));
    }
  };
  const many = options.messages >= MANY_MESSAGES;
  await pass(WARM_UP_PART, SEED + 1);
  if (many) await forgotten();
  const before = await heldBytes();
  await pass(1 - WARM_UP_PART, SEED);
  if (many) await forgotten();
  await holdsNoMoreThan(before, many ? 0 : REMEMBERED_BYTES);
  for (const [path, { sent, decoded, reached, seconds }] of counts) {
    process.stdout.write(
      `${path}: ${sent} messages of seed ${SEED}, ${decoded} decoded, ${reached === null ? '' : `${reached} obeyed, `}` +
        `${Math.round(sent / seconds)} a second\n`,
    );
    expect(decoded / sent, `share of messages to ${path} that decoded`).toBeGreaterThan(0.5);
    if (reached !== null)
      expect(reached / sent, `share of messages to ${path} that were obeyed`).toBeGreaterThan(REACHED_PART);
  }
}

/** Of each process; what is held for a moment only, as by calls that end, is let go of within one. */
async function holdsNoMoreThan(before: readonly Held[], rememberedBytes: number): Promise<void> {
  const giveUpAt = performance.now() + LET_GO_MS;
  for (;;) {
    const grown = (await heldBytes()).filter(({ name, bytes }, i) => {
      return bytes > GROWTH * before[i]!.bytes + (name === COORDINATOR ? rememberedBytes : 0);
    });
    if (grown.length === 0) return;
    if (performance.now() > giveUpAt) {
      throw new Error(`memory that is held: ${JSON.stringify(grown)}, before: ${JSON.stringify(before)}`);
    }
    await delay(LOOK_MS, new AbortController().signal);
  }
}

describe('a port that is sent mutated messages serves as before, and holds no more memory', () => {
  it('the coordinator: steps', TIMEOUT, async () => {
    await startCoordinator();
    await startRanks();
    await serves();
    const accepted = await Promise.all(planStepSeeds().map((bytes) => answered(bytes)));
    expect(accepted, 'seeds as they are').toEqual([
      'planned',
      'planned',
      // It takes one owner per rank, which one call a step cannot be.
      expect.stringContaining('owner_count is 1, expected 2'),
    ]);
    await fuzzAll([...STEP_CALLS, ...STANDARD_CALLS], coordinator.address, {
      messages: CONTROL_MESSAGES,
      decoded: decodedByControl,
      // Half of the callers go away, half of them meet their deadline.
      headers: (lane): Readonly<Record<string, string>> => (lane % 2 === 0 ? {} : { 'grpc-timeout': '60m' }),
    });
    await serves();
  });

  it('the coordinator: membership', TIMEOUT, async () => {
    await startCoordinator();
    await fuzzAll(MEMBERSHIP_CALLS, coordinator.address, {
      messages: CONTROL_MESSAGES,
      decoded: decodedByControl,
    });
    // Whoever joined is gone when its lease has ended, and the size is what it was told last.
    await parts.scale(coordinator.address, 2);
    await startRanks();
    await serves();
    // To all that was sent before there was no such rank.
    const [drained] = await Promise.all([untilDrained(), parts.rank()]);
    expect(drained).toMatchObject({ status: 0 });
    await serves();
  });

  it("a rank's commands", TIMEOUT, async () => {
    await startCoordinator(LONG_LEASE);
    await startRanks();
    await serves();
    const { epoch, ranks: members } = await parts.ready(coordinator.address, 2);
    const addresses = members.map(({ rank }) => rank);
    // A rank obeys one stream: from here on the fuzzer is its coordinator.
    expect(await coordinator.end('SIGTERM')).toBe(0);
    const { address } = ranks[0]!;
    for (const { before, command, events } of commandSeeds(epoch, addresses)) {
      const call = commandCall(epoch, addresses);
      expect(await commanded(address, [...before, command, ...call.after!])).toEqual(events);
    }
    await fuzzAll([commandCall(epoch, addresses), ...RANK_CALLS, ...STANDARD_CALLS], address, {
      messages: CONTROL_MESSAGES,
      decoded: decodedByControl,
    });
    // The next one's term is older than this, and it has to learn of it before the rank obeys.
    expect(await commanded(address, [laterEpoch(epoch, addresses)])).toEqual(['ready']);
    await startCoordinator(LONG_LEASE);
    await serves();
  });

  it("a rank's tensor plane", TIMEOUT, async () => {
    await startCoordinator();
    await startRanks();
    await serves();
    const status = await parts.ready(coordinator.address, 2);
    // A compressed frame is refused as such, with a status of its own.
    const live = new LiveSteps(coordinator.address);
    const poison = Buffer.from([1, 0, 0, 0, 0]);
    await fuzzAll(TENSOR_CALLS, status.ranks[0]!.rank.tensorAddress, {
      messages: TENSOR_MESSAGES,
      poison,
      headers: (lane) => ({ 'ulysses-party': `owner/${lane}/fuzz/session` }),
      decoded: decodedByPlane,
      live,
    }).finally(() => {
      live.close();
    });
    await serves();
  });
});

/** The seeds that a ready cluster accepts; the last one is a backward without its forward. */
function planStepSeeds(): Buffer[] {
  return STEP_CALLS[0]!.seeds.slice(0, 3).map((seed) => encodeFields(seed));
}

async function answered(bytes: Buffer): Promise<string> {
  const client = new RawGrpc(coordinator.address);
  const { path } = STEP_CALLS[0]!;
  const outcome = await client.call({ path, bytes: frame(bytes), ends: false, patienceMs: 5_000 });
  client.close();
  return outcome.answers.length > 0 ? 'planned' : outcome.message;
}

/** The seed as it is: of rank 0, whose process ends. */
async function untilDrained(): Promise<RawOutcome> {
  const client = new RawGrpc(coordinator.address);
  const { path, seeds } = DRAIN;
  const bytes = frame(encodeFields(seeds[0]!));
  const outcome = await client.call({ path, bytes, ends: true, patienceMs: DRAIN_MS });
  client.close();
  return outcome;
}

/** How a rank answers commands on one stream. */
async function commanded(address: string, commands: readonly Fields[]): Promise<readonly string[]> {
  const client = new RawGrpc(address);
  const bytes = Buffer.concat(commands.map((command) => frame(encodeFields(command))));
  const { path } = commandCall(0, []);
  const outcome = await client.call({ path, bytes, ends: true, patienceMs: 5_000 });
  client.close();
  return eventsOf(outcome);
}
