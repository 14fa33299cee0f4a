import { UlyssesError, fieldError, toUlyssesError } from '@ulysses/errors';
import {
  allocateBackward,
  allocateForward,
  backwardReceives,
  completeMemory,
  forwardReceives,
  freeMemory,
  keepMemory,
  rankParty,
  relayBytes,
  stepIdentity,
  stepName,
  unitExchange,
  unitOwnerSendBytes,
  type Direction,
  type ExchangePlane,
  type ForwardMemory,
  type StepChannel,
  type UnitExchange,
} from '@ulysses/exchange';
import type { Receive } from '@ulysses/native';
import {
  carriedTensors,
  DerivedFromPlans,
  exchangeBytes,
  keptBytes,
  KnownPlans,
  verifyExchangePlan,
  type ExchangePlan,
  type Plan,
} from '@ulysses/plan';
import { isExchangePlan, traceName, type Prepare, type StepKey } from '@ulysses/rpc';
import { Traces, type Logger } from '@ulysses/runtime';
import type { DeviceTurns } from './device-turns.js';
import type { ForwardStore } from './forward-store.js';
import type { StepCounts } from './rank-metrics.js';
import { routes } from './routes.js';
import type { EpochSeat } from './seat.js';
import { runBackward, runForward, type RunningStep } from './step.js';
import { StepClock, type RankPhase } from './step-clock.js';

export interface RankStepsOptions {
  readonly plane: ExchangePlane;
  readonly device: DeviceTurns;
  readonly store: ForwardStore;
  readonly logger: Logger;
  readonly counts: StepCounts;
  readonly onFinished: (step: StepKey) => void;
  readonly onFailed: (step: StepKey, error: UlyssesError) => void;
}

/** A step between its vote and its commit or abort. Its resources hang on it and end with it. */
interface PreparedStep {
  readonly key: StepKey;
  readonly channel: StepChannel;
  readonly abort: AbortController;
  readonly clock: StepClock;
  /** Settles when the run ended, well or not; memory is free to go only then. */
  readonly ended: Promise<void>;
  readonly onCommit: () => void;
  readonly onDiscard: () => void;
}

type AttentionPrepare = Prepare & { readonly plan: Plan };

/** What this rank does in one step, and what it reserves for it. */
interface RankPart {
  readonly receives: readonly Receive[];
  readonly relayBytes: number;
  readonly sendBytes: number;
  readonly firstPhase: RankPhase;
  readonly run: (channel: StepChannel, clock: StepClock, signal: AbortSignal) => Promise<void>;
  readonly onCommit: () => void;
  readonly onDiscard: () => void;
}

interface AttentionPart extends Pick<RankPart, 'receives' | 'onCommit' | 'onDiscard'> {
  /** Inputs that a backward gets again. */
  readonly carried: RunningStep['carried'];
  readonly run: (step: RunningStep) => Promise<void>;
}

/**
 * The steps that this rank takes part in.
 *
 * R1: memory and routes are reserved before the vote; a step that was refused leaves nothing behind.
 * R2: memory is freed only after the device and the plane let go of it.
 * R3: a newer attempt ends the older one.
 */
export class RankSteps {
  readonly #options: RankStepsOptions;
  readonly #steps = new Map<string, PreparedStep>();
  readonly #plans = new KnownPlans();
  readonly #exchanges = new DerivedFromPlans<UnitExchange>();
  readonly traces = new Traces<StepKey>(traceName);

  constructor(options: RankStepsOptions) {
    this.#options = options;
  }

  get running(): number {
    return this.#steps.size;
  }

  /** Derives the plan, reserves memory and starts waiting for rows. Throws the reason for a refusal. */
  prepare(command: Prepare, seat: EpochSeat): void {
    const askedAt = performance.now();
    if (command.epoch !== seat.epoch) {
      throw new UlyssesError(
        'STALE_EPOCH',
        `the step is of epoch ${command.epoch}, this rank is in ${seat.epoch}`,
        {
          field: 'epoch',
          value: String(command.epoch),
          expected: String(seat.epoch),
        },
      );
    }
    const { plan } = command;
    if (isExchangePlan(plan)) verifyExchangePlan(plan);
    const verified = isExchangePlan(plan) ? plan : this.#plans.verified(plan);
    for (const [name, older] of this.#steps) {
      if (stepIdentity(older.key) === stepIdentity(command.step)) this.#discard(name, older);
    }
    const prepared = isExchangePlan(verified)
      ? this.#prepareExchange(command, verified, seat)
      : this.#prepareAttention({ ...command, plan: verified }, seat);
    this.#steps.set(stepName(command.step), prepared);
    this.#trace(command.step, 'agree', askedAt, prepared.clock.startedAt);
  }

  /** Ends a step without a result; unknown steps are fine. */
  abort(key: StepKey): void {
    const name = stepName(key);
    const step = this.#steps.get(name);
    if (step !== undefined) this.#discard(name, step);
  }

  /** Every rank finished: what is to be kept is kept, the rest is freed. */
  commit(key: StepKey): void {
    const name = stepName(key);
    const step = this.#steps.get(name);
    if (step === undefined) return;
    this.#steps.delete(name);
    this.#ended(step, 'committed');
    step.channel.close();
    step.onCommit();
  }

  abortAll(): void {
    for (const [name, step] of [...this.#steps]) this.#discard(name, step);
  }

  #prepareAttention(command: AttentionPrepare, seat: EpochSeat): PreparedStep {
    requireParties(command, seat);
    return command.step.pass === 'forward'
      ? this.#prepareForward(command, seat)
      : this.#prepareBackward(command, seat);
  }

  /** An exchange alone: this rank relays what its owner sends and gets, and is done when all of it is acknowledged. */
  #prepareExchange(command: Prepare, { spec }: ExchangePlan, seat: EpochSeat): PreparedStep {
    if (spec.gatherRanges.length !== seat.ranks.length || command.ownerCount !== seat.ranks.length) {
      const expected = `${seat.ranks.length}, one owner per rank`;
      throw fieldError('PLAN_INVALID', 'gatherRanges', spec.gatherRanges.length, expected);
    }
    const { sent, received } = exchangeBytes(spec, seat.rank);
    return this.#start(command, seat, {
      receives: [],
      relayBytes: sent + received,
      sendBytes: 0,
      firstPhase: 'relay',
      run: (channel) => channel.relayed,
      onCommit: () => undefined,
      onDiscard: () => undefined,
    });
  }

  #exchangeOf(plan: Plan, { rank }: EpochSeat): UnitExchange {
    return this.#exchanges.of(
      plan,
      ({ places }) => places.table.rank === rank,
      () => unitExchange(plan, rank),
    );
  }

  #prepareForward(command: AttentionPrepare, seat: EpochSeat): PreparedStep {
    const { store } = this.#options;
    const { step: key, plan, kvCachePolicy: policy } = command;
    const exchange = this.#exchangeOf(plan, seat);
    const keep = command.keep === 'store';
    const bytes = keptBytes(plan.spec, exchange.places.table, policy);
    if (keep) store.reserve(key, bytes);
    const memory = allocateForward(exchange.places);
    const free = (): void => {
      freeMemory(memory);
    };
    return this.#startAttention(command, seat, exchange, {
      carried: [],
      receives: forwardReceives(exchange, memory),
      run: (step) => runForward(step, memory),
      onCommit: () => {
        if (!keep) {
          free();
          return;
        }
        store.keep({ key, exchange, policy, memory: keepMemory(memory, policy), bytes });
      },
      onDiscard: () => {
        if (keep) store.cancel(key, bytes);
        free();
      },
    });
  }

  #prepareBackward(command: AttentionPrepare, seat: EpochSeat): PreparedStep {
    const carried = carriedTensors(command.keep, command.kvCachePolicy);
    const { exchange, forward, free } =
      command.keep === 'recompute'
        ? recomputedForward(this.#exchangeOf(command.plan, seat))
        : this.#keptForward(command);
    const memory = allocateOr(free, () => allocateBackward(exchange.places));
    const end = (): void => {
      free();
      freeMemory(memory);
    };
    return this.#startAttention(command, seat, exchange, {
      carried,
      receives: backwardReceives(exchange, forward, memory, carried),
      run: (step) => runBackward(step, forward, memory),
      onCommit: () => {
        end();
        if (command.releaseForward && command.forward !== null) this.#options.store.release(command.forward);
      },
      onDiscard: end,
    });
  }

  /** What was kept, and memory for what backward carries because it was not. */
  #keptForward({ forward: key, plan, kvCachePolicy: policy }: AttentionPrepare): ForwardOfBackward {
    if (key === null) {
      throw new UlyssesError('PLAN_INVALID', 'forward is absent, expected the key of the forward', {
        field: 'forward',
        expected: 'the key of the forward that this backward belongs to',
      });
    }
    const { forward: kept, done } = this.#options.store.take(key, plan.planId, policy);
    const { exchange, memory } = kept;
    const complete = allocateOr(done, () => completeMemory(exchange.places, memory));
    const free = (): void => {
      complete.free();
      done();
    };
    return { exchange, forward: complete.forward, free };
  }

  #startAttention(
    command: AttentionPrepare,
    seat: EpochSeat,
    exchange: UnitExchange,
    { carried, receives, run, onCommit, onDiscard }: AttentionPart,
  ): PreparedStep {
    const { job, pass } = command.step;
    const device = this.#options.device.of(job);
    return this.#start(command, seat, {
      receives,
      relayBytes: relayBytes(command.plan, seat.rank, pass, carried, command.directOwners),
      sendBytes: unitOwnerSendBytes(exchange, pass),
      firstPhase: 'wait',
      run: (channel, clock, signal) => run({ exchange, channel, device, carried, clock, signal }),
      onCommit,
      onDiscard,
    });
  }

  #start(command: Prepare, seat: EpochSeat, part: RankPart): PreparedStep {
    const { receives, relayBytes, sendBytes } = part;
    const onTransferred = (direction: Direction, beginMs: number): void => {
      this.#trace(command.step, `transfer ${direction}`, beginMs, performance.now());
    };
    let channel: StepChannel;
    try {
      const registration = {
        key: command.step,
        epoch: command.epoch,
        self: rankParty(seat.rank),
        receives,
        routes: routes(command, seat),
        relayBytes,
        sendBytes,
      };
      channel = this.#options.plane.openStep(registration, { onTransferred });
    } catch (error) {
      part.onDiscard();
      throw error;
    }
    const abort = new AbortController();
    const { pass } = command.step;
    const clock = new StepClock(part.firstPhase, (phase, beginMs, endMs) => {
      this.#options.counts.phase(pass, phase, (endMs - beginMs) / 1000);
      this.#trace(command.step, phase, beginMs, endMs);
    });
    const ended = part.run(channel, clock, abort.signal).then(
      () => {
        clock.enter('commit');
        this.#finished(command.step);
      },
      (thrown: unknown) => {
        this.#failed(command.step, toUlyssesError(thrown));
      },
    );
    return {
      key: command.step,
      channel,
      abort,
      clock,
      ended,
      onCommit: part.onCommit,
      onDiscard: part.onDiscard,
    };
  }

  #trace(key: StepKey, phase: string, beginMs: number, endMs: number): void {
    this.traces.add(key, phase, (endMs - beginMs) / 1000, endMs);
  }

  #finished(key: StepKey): void {
    if (this.#steps.has(stepName(key))) this.#options.onFinished(key);
  }

  #failed(key: StepKey, error: UlyssesError): void {
    // An aborted step fails by our own hand; whoever aborted it knows the cause.
    if (!this.#steps.has(stepName(key))) return;
    this.#options.logger.warn({ step: stepName(key), code: error.code }, 'step failed');
    this.#options.onFailed(key, error);
  }

  #ended({ key, clock }: PreparedStep, outcome: 'committed' | 'aborted'): void {
    clock.stop();
    this.#options.counts.ended(key.pass, outcome);
  }

  #discard(name: string, step: PreparedStep): void {
    this.#steps.delete(name);
    this.#ended(step, 'aborted');
    step.abort.abort(new UlyssesError('CANCELLED', 'the step was aborted'));
    step.channel.close();
    void step.ended.then(step.onDiscard);
  }
}

/** As many ranks and owners as the plan divides the step among: routes are made for each of them. */
function requireParties({ plan, ownerCount }: AttentionPrepare, { ranks }: EpochSeat): void {
  if (plan.cpSize !== ranks.length) {
    throw fieldError('PLAN_INVALID', 'cpSize', plan.cpSize, `${ranks.length}, the ranks of the epoch`);
  }
  const owners = plan.spec.qSplits.length;
  if (ownerCount !== owners) {
    throw fieldError('PLAN_INVALID', 'ownerCount', ownerCount, `${owners}, as many as qSplits has entries`);
  }
}

/** What a backward reads of its forward, and how to let go of it. */
interface ForwardOfBackward {
  readonly exchange: UnitExchange;
  readonly forward: ForwardMemory;
  readonly free: () => void;
}

/** Nothing was kept: every input is carried, out and lse are computed again. */
function recomputedForward(exchange: UnitExchange): ForwardOfBackward {
  const forward = allocateForward(exchange.places);
  return {
    exchange,
    forward,
    free: () => {
      freeMemory(forward);
    },
  };
}

/** Memory, or an undone preparation when there is none. */
function allocateOr<T>(undo: () => void, allocate: () => T): T {
  try {
    return allocate();
  } catch (error) {
    undo();
    throw error;
  }
}
