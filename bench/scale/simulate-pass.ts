import { EventQueue } from './event-queue.js';
import { controlSeconds, type Machine } from './machine.js';
import type { Messages, PassWork } from './pass-work.js';

/** What a pass takes by the model. */
export interface SimulatedPass {
  readonly seconds: number;
  /** Of it, agreement and commit. */
  readonly controlSeconds: number;
  /** Per rank, payload bytes that it got and sent. */
  readonly bytesPerRank: readonly number[];
  /** Per rank, what it computed. */
  readonly flopsPerRank: readonly number[];
  readonly events: number;
}

/**
 * An event model of one pass. Every link is LogGP's: a message holds its sender's link for a time of its own and one by its bytes,
 * arrives a latency later, and holds the receiver's link for the same bytes, cut through and first come, first served. What
 * stays on a host, and what is computed there, is served by the host's workers, first come, first served too.
 *
 * M1. Receivers always read, into reserved memory: a sender never waits for a receiver.
 * M2. A rank computes its units in plan order, one at a time, each when its granules are complete; results leave at once.
 * M3. Time moves forward, so that serving requests as they come is serving them in order.
 */
export function simulatePass(work: PassWork, machine: Machine): SimulatedPass {
  return new Simulation(work, machine).run();
}

/** Messages of one sender that are not sent yet. */
interface Outgoing {
  readonly messages: Messages;
  /** Whose hosts they go to: those of ranks, or of owners. */
  readonly toRanks: boolean;
  next: number;
}

interface Host {
  /** Each has its share of the link: one message in turn. */
  readonly outgoing: Outgoing[];
  turn: number;
  isSending: boolean;
  receivesFrom: number;
  readonly workersFreeAt: Float64Array;
}

interface Rank {
  readonly waiting: Map<number, { messages: number; completeAt: number }>;
  next: number;
  isComputing: boolean;
}

class Simulation {
  readonly #work: PassWork;
  readonly #machine: Machine;
  readonly #hosts: readonly Host[];
  readonly #ranks: readonly Rank[];
  readonly #bytesPerRank: number[];
  /** Event h: host h may send. Event hosts + r: rank r looks for a unit; event hosts + ranks + r: it has computed one. */
  readonly #events = new EventQueue();
  #count = 0;
  #endsAt = 0;

  constructor(work: PassWork, machine: Machine) {
    this.#work = work;
    this.#machine = machine;
    const rankHosts = Math.max(1, Math.ceil(work.cpSize / machine.ranksPerHost));
    const hosts = rankHosts + (machine.owners === 'apart' ? 1 : 0);
    this.#hosts = Array.from({ length: hosts }, () => ({
      outgoing: [],
      turn: 0,
      isSending: false,
      receivesFrom: 0,
      workersFreeAt: new Float64Array(machine.workersPerHost),
    }));
    this.#ranks = work.units.map(() => ({ waiting: new Map(), next: 0, isComputing: false }));
    this.#bytesPerRank = work.units.map(() => 0);
    for (const { to, granule } of work.inputs) {
      for (let i = 0; i < to.length; i++) {
        const { waiting } = this.#ranks[to[i]!]!;
        const found = waiting.get(granule[i]!);
        if (found === undefined) waiting.set(granule[i]!, { messages: 1, completeAt: 0 });
        else found.messages += 1;
      }
    }
  }

  run(): SimulatedPass {
    const { cpSize, inputs } = this.#work;
    inputs.forEach((messages, owner) => this.#send(0, this.#hostOfOwner(owner), messages, true));
    for (let rank = 0; rank < cpSize; rank++) this.#events.add(0, this.#hosts.length + rank);
    for (; this.#events.size > 0; this.#count++) {
      const { time, event } = this.#events.take();
      if (event < this.#hosts.length) this.#sendNext(time, event);
      else this.#advance(time, event - this.#hosts.length);
    }
    const control = controlSeconds(this.#machine, cpSize, inputs.length);
    return {
      seconds: control + this.#endsAt,
      controlSeconds: control,
      bytesPerRank: this.#bytesPerRank,
      flopsPerRank: this.#work.units.map((units) => units.reduce((sum, { flops }) => sum + flops, 0)),
      events: this.#count,
    };
  }

  #hostOf(rank: number): number {
    return Math.floor(rank / this.#machine.ranksPerHost);
  }

  #hostOfOwner(owner: number): number {
    const { cpSize } = this.#work;
    return this.#machine.owners === 'apart' ? this.#hosts.length - 1 : this.#hostOf(owner % cpSize);
  }

  #send(time: number, host: number, messages: Messages, toRanks: boolean): void {
    const { outgoing, isSending } = this.#hosts[host]!;
    if (messages.to.length === 0) return;
    outgoing.push({ messages, toRanks, next: 0 });
    if (isSending) return;
    this.#hosts[host]!.isSending = true;
    this.#events.add(time, host);
  }

  #sendNext(time: number, host: number): void {
    const from = this.#hosts[host]!;
    const { messages, toRanks, next } = from.outgoing[from.turn]!;
    const { latencySeconds, linkBytesPerSecond, localSecondsPerByte, messageSeconds } = this.#machine;
    const [to, bytes] = [messages.to[next]!, messages.bytes[next]!];
    const destination = toRanks ? this.#hostOf(to) : this.#hostOfOwner(to);
    let arrivesAt: number;
    let freeAt = time;
    if (destination === host) {
      arrivesAt = this.#serve(host, time, bytes * localSecondsPerByte);
    } else {
      freeAt = time + messageSeconds + bytes / linkBytesPerSecond;
      const receiver = this.#hosts[destination]!;
      const begins = Math.max(time + messageSeconds + latencySeconds, receiver.receivesFrom);
      arrivesAt = receiver.receivesFrom = begins + bytes / linkBytesPerSecond;
    }
    this.#endsAt = Math.max(this.#endsAt, arrivesAt + (destination === host ? 0 : latencySeconds));
    if (toRanks) this.#arrive(to, messages.granule[next]!, bytes, arrivesAt);
    this.#takeTurn(from);
    from.isSending = from.outgoing.length > 0;
    if (from.isSending) this.#events.add(freeAt, host);
  }

  #takeTurn(host: Host): void {
    const sent = host.outgoing[host.turn]!;
    sent.next += 1;
    if (sent.next === sent.messages.to.length) host.outgoing.splice(host.turn, 1);
    else host.turn += 1;
    if (host.turn >= host.outgoing.length) host.turn = 0;
  }

  #arrive(rank: number, granule: number, bytes: number, time: number): void {
    this.#bytesPerRank[rank]! += bytes;
    const waiting = this.#ranks[rank]!.waiting.get(granule)!;
    waiting.completeAt = Math.max(waiting.completeAt, time);
    waiting.messages -= 1;
    if (waiting.messages === 0) this.#events.add(waiting.completeAt, this.#hosts.length + rank);
  }

  /** A rank's granule is complete, or its unit is computed. */
  #advance(time: number, event: number): void {
    const index = event % this.#work.cpSize;
    const rank = this.#ranks[index]!;
    if (event >= this.#work.cpSize) this.#finishUnit(time, index);
    const unit = this.#work.units[index]![rank.next];
    if (unit === undefined || rank.isComputing) return;
    const isThere = (granule: number): boolean => {
      const waiting = rank.waiting.get(granule);
      return waiting === undefined || (waiting.messages === 0 && waiting.completeAt <= time);
    };
    if (!unit.granules.every(isThere)) return;
    rank.isComputing = true;
    const seconds = unit.flops / this.#machine.workerFlopsPerSecond;
    const endsAt = this.#serve(this.#hostOf(index), time, seconds);
    this.#events.add(endsAt, this.#hosts.length + this.#work.cpSize + index);
  }

  #finishUnit(time: number, index: number): void {
    const rank = this.#ranks[index]!;
    const { results } = this.#work.units[index]![rank.next]!;
    rank.isComputing = false;
    rank.next += 1;
    this.#endsAt = Math.max(this.#endsAt, time);
    for (const bytes of results.bytes) this.#bytesPerRank[index]! += bytes;
    this.#send(time, this.#hostOf(index), results, false);
  }

  /** When work that comes now is done by the first of the host's workers that is free. */
  #serve(host: number, time: number, seconds: number): number {
    const { workersFreeAt } = this.#hosts[host]!;
    let first = 0;
    for (let worker = 1; worker < workersFreeAt.length; worker++) {
      if (workersFreeAt[worker]! < workersFreeAt[first]!) first = worker;
    }
    return (workersFreeAt[first] = Math.max(time, workersFreeAt[first]!) + seconds);
  }
}
