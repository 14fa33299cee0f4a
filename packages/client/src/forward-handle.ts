import { UlyssesError } from '@ulysses/errors';
import type { StepKey } from '@ulysses/native';
import type { StepView } from '@ulysses/rpc';
import type { Cluster } from './cluster.js';
import { forwardPass, type ForwardInputs } from './passes.js';
import type { TensorView } from './tensor-view.js';

export interface ForwardHandleOptions {
  readonly cluster: Cluster;
  readonly key: StepKey;
  readonly view: StepView;
  readonly inputs: ForwardInputs;
}

/**
 * What a forward holds for its backward: inputs in native memory here, and with keep `store` what the ranks keep under `key`.
 * It does not refer to the result that the caller has, so that the end of that one can end this one.
 */
export class ForwardHandle {
  readonly #cluster: Cluster;
  readonly inputs: ForwardInputs;
  #key: StepKey;
  #view: StepView;
  #inputsFreed = false;
  #ranksFreed = false;

  constructor({ cluster, key, view, inputs }: ForwardHandleOptions) {
    this.#cluster = cluster;
    this.#key = key;
    this.#view = view;
    this.inputs = inputs;
    // Nothing of it is ever read again.
    if (view.keep === 'none') this.free();
  }

  /** The forward's key, with the attempt that committed. */
  get key(): StepKey {
    return this.#key;
  }

  get view(): StepView {
    return this.#view;
  }

  /** @throws HANDLE_GONE when there is nothing for a backward */
  requireLive(): void {
    if (!this.#inputsFreed) return;
    const why = this.#view.keep === 'none' ? "the forward ran with keep 'none'" : 'it was released';
    throw new UlyssesError('HANDLE_GONE', `the forward is not stored: ${why}`, { field: 'forward' });
  }

  /** Forward again, for ranks that lost what they kept. */
  async repeat(qShape: TensorView, deadlineMs: number, signal: AbortSignal): Promise<void> {
    const next = { ...this.#key, attempt: this.#key.attempt + 1 };
    const repeated = await forwardPass(this.#cluster, next, this.#view, this.inputs, qShape, {
      deadlineMs,
      signal,
    });
    this.#key = repeated.key;
    this.#view = repeated.view;
    repeated.out.free();
    repeated.lse.free();
  }

  /** For a handle whose ranks' part is gone already. */
  free(): void {
    this.#freeInputs();
    this.#ranksFreed = true;
  }

  /** Frees both parts, the one here at once. May be repeated when the coordinator did not answer; otherwise it then does nothing. */
  async release({ signal, deadlineMs }: { signal?: AbortSignal; deadlineMs?: number } = {}): Promise<void> {
    this.#freeInputs();
    if (this.#ranksFreed || this.#view.keep !== 'store') return;
    await this.#cluster.release(this.#key, {
      deadlineMs: deadlineMs ?? this.#cluster.options.deadlineMs,
      ...(signal === undefined ? {} : { signal }),
    });
    this.#ranksFreed = true;
  }

  #freeInputs(): void {
    if (this.#inputsFreed) return;
    this.#inputsFreed = true;
    for (const region of Object.values(this.inputs) as ForwardInputs['q'][]) region.free();
  }
}

/** Releases the handles of results that nobody can reach any more. */
export const droppedResults = new FinalizationRegistry<ForwardHandle>((handle) => {
  // Nobody is there to hear of a failure; ranks free it by themselves when its time to live ends.
  handle.release().catch(() => undefined);
});
