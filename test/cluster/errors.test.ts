import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ERROR_TABLE, UlyssesError, type ErrorCode } from '@ulysses/errors';
import { createPlan, type StepSpec } from '@ulysses/plan';
import {
  PROTOCOL_VERSION,
  connectCoordinator,
  connectRank,
  connectRendezvous,
  type CoordinatorClient,
  type TermedCommand,
} from '@ulysses/rpc';
import { AsyncQueue } from '@ulysses/runtime';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startCluster, startCoordinator, type TestCluster } from '../support/cluster.js';
import { RAW_VIEW, rawKey, rawOwner, rawPart } from '../support/raw-owner.js';

// Every failure that may cross the wire, provoked in real processes by clients that have the proto alone: it must arrive
// with its code, the field, the value and what was expected.

const DEADLINE_MS = 20_000;
const STORE_BYTES = 4096;

let cluster: TestCluster;
const closers: (() => void)[] = [];
beforeAll(async () => {
  cluster = await startCluster({ cpSize: 2, flags: ['--store-bytes', `${STORE_BYTES}B`] });
});
afterEach(() => {
  for (const close of closers.splice(0)) close();
});
afterAll(() => cluster.stop());

/** A connection that the test closes. */
function open<Client extends { close(): void }>(client: Client): Client {
  closers.push(() => {
    client.close();
  });
  return client;
}

const coordinator = (address = cluster.address): CoordinatorClient => open(connectCoordinator(address));

const SPEC: StepSpec = {
  ...{ dtype: 'f32', layout: 'sbhd', batch: 1, qHeads: 4, kvHeads: 2, headSize: 8 },
  ...{ qSplits: [10], kvSplits: [10], mask: { ...RAW_VIEW.mask, validRanges: null } },
  ...{ scale: 0.125, strategy: 'heads', weights: null },
};

/**
 * Throws what rank 0 answers to a step of `epoch - behind` whose plan is `planId`'s, to a coordinator that had it enter the epoch.
 * The real one wants its stream back and may be faster, so it is asked until it has answered.
 */
async function vote(behind: number, planId?: string): Promise<never> {
  for (;;) await askForVote(behind, planId);
}

async function askForVote(behind: number, planId?: string): Promise<void> {
  const { epoch, ranks } = await coordinator().getStatus({}, { deadlineMs: DEADLINE_MS });
  const members = ranks.map(({ rank }) => rank);
  const commands = new AsyncQueue<TermedCommand>();
  commands.push({ kind: 'enter-epoch', term: 0, epoch, ranks: members });
  const plan = createPlan(SPEC, 2);
  const events = open(connectRank(members[0]!.controlAddress)).steps(commands, { deadlineMs: DEADLINE_MS });
  for await (const event of events) {
    if (event.kind === 'ready') {
      commands.push({
        ...{ kind: 'prepare', term: 0, epoch: epoch - behind, step: rawKey('forward'), keep: 'none' },
        ...{ plan: { ...plan, planId: planId ?? plan.planId }, kvCachePolicy: 'none', forward: null },
        ...{ ownerCount: 1, releaseForward: false, directOwners: [] },
      });
    }
    if (event.kind === 'vote' && event.refusal !== null) throw event.refusal;
  }
}

interface Row {
  readonly provoke: () => Promise<unknown>;
  readonly field: string;
  readonly value: string | RegExp;
  readonly expected: string | RegExp;
}

/** Not on the wire: of the command line, of our own bugs, and of connections that never came to be. */
const ELSEWHERE: readonly ErrorCode[] = ['CONFIG', 'INVARIANT', 'UNAUTHENTICATED'];

const ROWS: Partial<Record<ErrorCode, Row>> = {
  SHAPE_MISMATCH: {
    provoke: () => coordinator().drain({ rank: 7 }),
    ...{ field: 'rank', value: '7', expected: 'one of the ranks 0, 1' },
  },
  STEP_MISMATCH: {
    provoke: async () => {
      const both = { step: rawKey('forward'), ownerCount: 2 };
      const other = rawOwner(coordinator(), rawPart({}, both));
      other.catch(() => undefined);
      await rawOwner(coordinator(), rawPart({ qHeads: 2 }, { ...both, ownerIndex: 1 }));
    },
    ...{ field: 'q_heads', value: '2', expected: '4, as the other owners have it' },
  },
  PLAN_INVALID: {
    provoke: () => vote(0, 'not-the-id'),
    ...{ field: 'planId', value: '"not-the-id"', expected: /^[0-9a-f]{64}, the id of its spec and cuts$/ },
  },
  STALE_EPOCH: { provoke: () => vote(1), field: 'epoch', value: /^\d+$/, expected: /^\d+$/ },
  PEER_LOST: {
    provoke: async () => {
      try {
        await rawOwner(coordinator(), rawPart(), {
          onPlanned: () => {
            cluster.kill(1);
          },
        });
      } finally {
        await cluster.untilComplete();
      }
    },
    ...{ field: 'rank', value: '1', expected: 'a rank that serves until the step has ended' },
  },
  LEASE_LOST: {
    provoke: () => open(connectRendezvous(cluster.address)).renew({ member: 'stranger', rank: 1, epoch: 0 }),
    ...{ field: 'rank', value: '1', expected: 'a rank that this member holds' },
  },
  DEADLINE: {
    provoke: () => rawOwner(coordinator(), rawPart({}, { ownerCount: 3 }), { deadlineMs: 500 }),
    ...{ field: 'owner_index', value: '1, 2 did not call', expected: 'a call of each of 3 owners' },
  },
  CANCELLED: {
    provoke: async () => {
      const alone = await startCoordinator(2);
      const waiting = rawOwner(coordinator(alone.address), rawPart());
      waiting.catch(() => undefined);
      while ((await alone.status()).stepsRunning === 0);
      await alone.stop();
      await waiting;
    },
    ...{ field: 'leader', value: 'stopping', expected: 'a coordinator that leads on' },
  },
  FORBIDDEN: {
    provoke: async () => {
      const choosy = await startCoordinator(2, '--jobs', 'one, other');
      await rawOwner(coordinator(choosy.address), rawPart()).finally(() => choosy.stop());
    },
    ...{ field: 'job', value: '"errors"', expected: 'one of the --jobs of the coordinator: one, other' },
  },
  UNSUPPORTED: {
    provoke: () => {
      const old = { member: 'old', controlAddress: 'old:1', tensorAddress: 'old:2', protocolVersion: '0' };
      return open(connectRendezvous(cluster.address)).join(old);
    },
    ...{ field: 'protocol_version', value: '"0"', expected: PROTOCOL_VERSION },
  },
  HANDLE_GONE: {
    provoke: () => {
      const session = randomUUID();
      const backward = { step: rawKey('backward', session), forward: rawKey('forward', session) };
      return rawOwner(coordinator(), rawPart({ keep: 'store' }, backward));
    },
    ...{ field: 'forward', value: 'call 0 attempt 0', expected: 'a forward that this rank still keeps' },
  },
  OVERLOADED: {
    provoke: () => rawOwner(coordinator(), rawPart({ keep: 'store', qRows: 500, kvRows: 500 })),
    ...{ field: 'store_bytes', value: /^\d+$/, expected: `at most ${STORE_BYTES}` },
  },
};

describe('every failure that crosses the wire arrives with code, field, value and expectation', () => {
  it('each code of the table has a row here, or a reason to have none', () => {
    const covered = [...Object.keys(ROWS), ...ELSEWHERE].sort();
    expect(covered).toEqual(Object.keys(ERROR_TABLE).sort());
  });

  it.each(Object.entries(ROWS))('%s', async (code, { provoke, field, value, expected }) => {
    const error = await provoke().then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(UlyssesError);
    const { details, message, ...rest } = error as UlyssesError;
    expect({ ...rest, message }, message).toMatchObject({ code });
    expect(details.field, message).toBe(field);
    const [saidValue, saidExpected] = [String(details.value), String(details.expected)];
    if (typeof value === 'string') expect(saidValue).toBe(value);
    else expect(saidValue).toMatch(value);
    if (typeof expected === 'string') expect(saidExpected).toBe(expected);
    else expect(saidExpected).toMatch(expected);
  });
});

describe('CONFIG never crosses the wire: a service prints every problem at once and exits with 2', () => {
  async function failure(
    service: string,
    args: readonly string[],
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    const program = fileURLToPath(new URL(`../../services/${service}/dist/main.js`, import.meta.url));
    const ended = await promisify(execFile)(process.execPath, [program, ...args]).catch(
      (error: unknown) => error,
    );
    return ended as { code: number; stdout: string; stderr: string };
  }
  const WRONG = [
    '--listen',
    '',
    '--lease',
    'soon',
    '--drain',
    '-1s',
    '--log-level',
    'loud',
    '--world-size',
    '4',
  ];
  const PROBLEMS: Readonly<Record<string, readonly string[]>> = {
    coordinator: [
      '"--world-size" is not an option',
      '--context-parallel-size is missing, expected an integer from 1 to 4096',
      '--listen is "", expected text that is not empty',
      '--lease is "soon", expected a time such as 250ms',
      '--drain is "-1s", expected a time',
      '--log-level is "loud", expected one of debug, info, warn, error, silent',
    ],
    rank: [
      '"--lease" is not an option',
      '"--world-size" is not an option',
      '--rendezvous is missing, expected text that is not empty',
      '--listen is "", expected text that is not empty',
      '--drain is "-1s", expected a time',
      '--log-level is "loud", expected one of debug, info, warn, error, silent',
    ],
  };

  const OPEN = ['--listen', '0.0.0.0:0', '--rendezvous', 'redis://host:99999', '--tls-name', 'blue'];
  /** Each setting is right by itself. */
  const TOGETHER: Readonly<Record<string, readonly [readonly string[], readonly string[]]>> = {
    coordinator: [
      [...OPEN, '--context-parallel-size', '2'],
      ['rendezvous is ', 'tls-cert is ', 'listen is "0.0.0.0:0"', 'advertise is null'],
    ],
    rank: [
      [...OPEN, '--tensor-listen', '[::]:0'],
      [
        ...['rendezvous is ', 'tls-cert is ', 'listen is "0.0.0.0:0"', 'tensor-listen is "[::]:0"'],
        ...['advertise is null', 'tensor-advertise is null'],
      ],
    ],
  };

  it.each(Object.entries(TOGETHER))(
    '%s, settings that do not go together',
    async (service, [args, problems]) => {
      const { code, stderr } = await failure(service, args);
      expect(code).toBe(2);
      for (const problem of problems) expect(stderr).toContain(problem);
    },
  );

  it.each(Object.entries(PROBLEMS))('%s', async (service, problems) => {
    const { code, stdout, stderr } = await failure(service, WRONG);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    for (const problem of problems) expect(stderr).toContain(problem);
  });
});
