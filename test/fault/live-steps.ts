import { toUlyssesError } from '@ulysses/errors';
import { ownerExchange } from '@ulysses/exchange';
import {
  connectCoordinator,
  isExchangePlan,
  type CoordinatorClient,
  type Planned,
  type PlanStepUpdate,
  type StepKey,
} from '@ulysses/rpc';
import { delay } from '@ulysses/runtime';
import { RAW_VIEW, rawKey, rawPart } from '../support/raw-owner.js';
import { field, type Fields } from '../support/wire-fields.js';

/** A step that ranks have registered and whose rows nobody has sent yet; messages about it, as its only owner would send them. */
export interface LiveStep {
  /** Of the owner's calls to a tensor port. */
  readonly party: string;
  /** Every `PushRequest` of the step. */
  readonly slices: readonly Fields[];
  /** `PullRequest`s: what the owner says of results. */
  readonly acks: readonly Fields[];
  /** The owner's call ends, and with it the step, unless the step has failed already. */
  end(): Promise<void>;
}

const DEADLINE_MS = 30_000;
/** Between a step that failed and its repetition. */
const PAUSE_MS = 100;
const OWNER: Fields = [field(1, 2n), field(2, 0n)];
const PASS_FORWARD = 1n;
const [TENSOR_Q, TENSOR_K, TENSOR_V] = [1n, 2n, 3n];
const ROW_BYTES = RAW_VIEW.headSize * Float32Array.BYTES_PER_ELEMENT;

export class LiveSteps {
  readonly #client: CoordinatorClient;

  constructor(address: string) {
    this.#client = connectCoordinator(address);
  }

  /** A session has one step. */
  async begin(session: string): Promise<LiveStep> {
    const step = { ...rawKey('forward'), session };
    const { updates, planned } = await this.#plan(step);
    const about = (source: Fields, destination: Fields): Fields => [
      field(1, BigInt(planned.epoch)),
      field(2, [
        ...[field(1, step.job), field(2, session), field(3, BigInt(step.call)), field(4, PASS_FORWARD)],
        field(5, BigInt(planned.attempt)),
      ]),
      field(3, source),
      field(4, destination),
    ];
    return {
      party: `owner/0/${step.job}/${session}`,
      slices: slicesOf(planned, (rank) => about(OWNER, rank)),
      acks: planned.ranks.map((_, rank) => [field(1, [...about(rankParty(rank), OWNER), field(5, 64n)])]),
      end: async () => {
        await updates.return();
      },
    };
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Repeats what may be repeated, as trainers do: every step here ends by a reset, and a connection with a thousand of them too many
   * is ended by its server; on a machine that starves it a coordinator loses its lease, and takes it again.
   */
  async #plan(
    step: StepKey,
  ): Promise<{ updates: AsyncGenerator<PlanStepUpdate, void, undefined>; planned: Planned }> {
    const giveUpAt = performance.now() + DEADLINE_MS;
    for (;;) {
      const updates = this.#client.planStep(rawPart({}, { step }), { deadlineMs: DEADLINE_MS });
      try {
        return { updates, planned: (await updates.next()).value as Planned };
      } catch (thrown) {
        if (!toUlyssesError(thrown).retryable || performance.now() > giveUpAt) throw thrown;
      }
      await delay(PAUSE_MS, new AbortController().signal);
    }
  }
}

function rankParty(rank: number): Fields {
  return [field(1, 1n), field(2, BigInt(rank))];
}

function slicesOf({ plan }: Planned, about: (rank: Fields) => Fields): Fields[] {
  if (isExchangePlan(plan)) return [];
  const { byRank } = ownerExchange(plan, 0, { q: RAW_VIEW.qRows, kv: RAW_VIEW.kvRows });
  return byRank.flatMap(({ q, kv }, rank) =>
    ([TENSOR_K, TENSOR_V, TENSOR_Q] as const).flatMap((tensor) =>
      (tensor === TENSOR_Q ? q : kv).map(({ begin, end }, segment) => {
        const bytes = (end - begin) * ROW_BYTES;
        const what = [field(5, tensor), field(6, BigInt(segment)), field(7, 0n), field(8, BigInt(bytes))];
        return [field(1, [...about(rankParty(rank)), ...what, field(15, Buffer.alloc(bytes, 1))])];
      }),
    ),
  );
}
