/** Events in order of time; those of one time in the order in which they were added. A binary heap over flat arrays. */
export class EventQueue {
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #events: number[] = [];
  #added = 0;

  get size(): number {
    return this.#times.length;
  }

  /** `event` is a number of the caller's. */
  add(time: number, event: number): void {
    let at = this.#times.length;
    const order = this.#added++;
    for (let parent = (at - 1) >> 1; at > 0; parent = (at - 1) >> 1) {
      if (!this.#isBefore(time, order, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, time, order, event);
  }

  /** Removes the earliest event. The queue is not empty. */
  take(): { readonly time: number; readonly event: number } {
    const earliest = { time: this.#times[0]!, event: this.#events[0]! };
    const [time, order, event] = [this.#times.pop()!, this.#orders.pop()!, this.#events.pop()!];
    const { length } = this.#times;
    if (length === 0) return earliest;
    let at = 0;
    for (let child = 1; child < length; child = 2 * at + 1) {
      const right = child + 1;
      if (right < length && this.#isBefore(this.#times[right]!, this.#orders[right]!, child)) child = right;
      if (this.#isBefore(time, order, child)) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, time, order, event);
    return earliest;
  }

  #isBefore(time: number, order: number, at: number): boolean {
    const other = this.#times[at]!;
    return time < other || (time === other && order < this.#orders[at]!);
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#times[from]!, this.#orders[from]!, this.#events[from]!);
  }

  #put(at: number, time: number, order: number, event: number): void {
    this.#times[at] = time;
    this.#orders[at] = order;
    this.#events[at] = event;
  }
}
