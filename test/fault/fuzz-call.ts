import { mutate } from '../support/mutate-fields.js';
import { frame, RawGrpc, type RawCall, type RawOutcome } from '../support/raw-grpc.js';
import { uniforms } from '../support/uniforms.js';
import { encodeFields, field, isFields, type Fields } from '../support/wire-fields.js';
import { SESSION, type FuzzedCall } from './fuzz-seeds.js';
import type { LiveStep, LiveSteps } from './live-steps.js';

export interface FuzzOptions {
  readonly messages: number;
  readonly seed: number;
  readonly headers?: (lane: number) => Readonly<Record<string, string>>;
  /** Follows every message in its call: a frame that ends it, and so tells that the message before was read. */
  readonly poison?: Buffer;
  /** Where steps run that a share of the messages is about. @default nowhere */
  readonly live?: LiveSteps;
  /** Whether the message decoded, by how its call ended. */
  readonly decoded: (outcome: RawOutcome) => boolean;
}

export interface FuzzCount {
  readonly sent: number;
  readonly decoded: number;
  /** That did more than to decode; null where nobody looks. */
  readonly reached: number | null;
  readonly seconds: number;
}

/** One message in so many is about a step that runs; each has a step of its own, as the first wrong one ends it. */
const LIVE_IN = 16;
/** Calls at a time, and connections that they share. */
const LANES = 96;
const CONNECTIONS = 4;
/** A call that waits for others, as a step does, is ended after so long. */
const PATIENCE_MS = 100;
/** No call may take longer than this to be ended by its server once its caller has. */
const STUCK_MS = 60_000;
/** A broken invariant's status. */
const INTERNAL = 13;
/** How often in a row a connection may be found ended. */
const RECONNECTS = 3;

/** Sends mutated messages, one a call. Message i of a seed is always the same. */
export async function fuzz(address: string, call: FuzzedCall, options: FuzzOptions): Promise<FuzzCount> {
  const clients = Array.from({ length: CONNECTIONS }, () => new RawGrpc(address));
  const began = performance.now();
  let next = 0;
  let decoded = 0;
  let reached = 0;
  const lane = async (number: number): Promise<void> => {
    const client = clients[number % CONNECTIONS]!;
    const headers = options.headers?.(number) ?? {};
    for (let i = next++; i < options.messages; i = next++) {
      const live = call.live !== undefined && i % LIVE_IN === 0 ? await beginLive(options, i) : null;
      const { bytes, before } =
        live === null ? messageOf(call, options, i) : liveMessage(call, options, i, live);
      const whole = (fields: readonly Fields[]): Buffer[] => fields.map((each) => frame(encodeFields(each)));
      const frames = [...whole(before), frame(bytes), ...whole(call.after ?? [])];
      const sent = Buffer.concat(options.poison === undefined ? frames : [...frames, options.poison]);
      const patienceMs = call.ends ? STUCK_MS : PATIENCE_MS;
      const outcome = await onALiveConnection(client, address, {
        path: call.path,
        bytes: sent,
        headers: live === null ? headers : { ...headers, 'ulysses-party': live.party },
        ends: call.ends,
        patienceMs,
      });
      const wrong = wrongWith(outcome, call);
      if (wrong !== null) {
        const what = `message ${i} of seed ${options.seed} to ${call.path}: ${bytes.toString('hex')}`;
        throw new Error(`${wrong} (${outcome.message}) for ${what}`);
      }
      if (options.decoded(outcome)) decoded++;
      if (call.reached?.(outcome) === true) reached++;
      await live?.end();
    }
  };
  try {
    await Promise.all(Array.from({ length: call.lanes ?? LANES }, (_, number) => lane(number)));
  } finally {
    for (const client of clients) client.close();
  }
  const seconds = (performance.now() - began) / 1000;
  return { sent: options.messages, decoded, reached: call.reached === undefined ? null : reached, seconds };
}

/** What no message may bring about; null: it did not. */
function wrongWith(outcome: RawOutcome, { ends, standard = false }: FuzzedCall): string | null {
  if (lostItsConnection(outcome)) return `connection lost ${RECONNECTS + 1} times`;
  if (ends && outcome.status === null) return `no status within ${STUCK_MS} ms`;
  if (outcome.status === INTERNAL && !standard) return 'it met a bug of the service';
  return null;
}

/**
 * A server may end a connection, as it does when its pings went unanswered on a busy machine or too many calls were reset. The
 * message is sent again, on one that it shares with no other: if it costs its sender the connection, it does so every time.
 */
async function onALiveConnection(client: RawGrpc, address: string, call: RawCall): Promise<RawOutcome> {
  let outcome = await client.call(call);
  for (let again = 0; again < RECONNECTS && lostItsConnection(outcome); again++) {
    const alone = new RawGrpc(address);
    outcome = await alone.call(call);
    alone.close();
  }
  return outcome;
}

const lostItsConnection = ({ status, cancelled }: RawOutcome): boolean => status === null && !cancelled;

interface FuzzedMessage {
  readonly bytes: Buffer;
  readonly before: readonly Fields[];
}

function messageOf(call: FuzzedCall, { seed }: FuzzOptions, i: number): FuzzedMessage {
  const random = uniforms(seed * 1_000_003 + i);
  for (;;) {
    const chosen = Math.floor(random() * call.seeds.length);
    const fields = call.seeds[chosen]!;
    const bytes = (call.mutate ?? mutate)(
      call.ownSessions === true ? withSession(fields, `s${i}`) : fields,
      random,
    );
    if (call.allowed?.(bytes) !== false) return { bytes, before: call.before?.[chosen] ?? [] };
  }
}

function beginLive({ live, seed }: FuzzOptions, i: number): Promise<LiveStep | null> {
  return live === undefined ? Promise.resolve(null) : live.begin(`live-${seed}-${i}`);
}

/** About a step that runs: after some of what its owner would send, or all of it, one message that is not as it should be. */
function liveMessage(call: FuzzedCall, { seed }: FuzzOptions, i: number, step: LiveStep): FuzzedMessage {
  const random = uniforms(seed * 1_000_003 + i);
  const { before = [], seeds = [] } = call.live?.(step) ?? {};
  const fields = seeds[Math.floor(random() * seeds.length)]!;
  return {
    before: before.slice(0, Math.floor(random() * (before.length + 1))),
    bytes: mutate(fields, random),
  };
}

/** The message with another session: it is about a step of its own, and not refused as the repetition of another. */
function withSession(fields: Fields, session: string): Fields {
  return fields.map(({ number, value }) => {
    if (value === SESSION) return field(number, session);
    return field(number, isFields(value) ? withSession(value, session) : value);
  });
}
