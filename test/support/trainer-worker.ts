import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import {
  connect,
  UlyssesContextAttention,
  type AttentionOptions,
  type AttentionResult,
  type Cluster,
  type ConnectOptions,
} from '@ulysses/client';
import { toUlyssesError } from '@ulysses/errors';
import { shardOf, stepInputs, type InputShape } from './step-inputs.js';

/** What a trainer process is told, one thing after the other. */
export type TrainerCommand =
  | { readonly kind: 'connect'; readonly options: Omit<ConnectOptions, 'onReplay' | 'onWarning'> }
  | {
      readonly kind: 'forward';
      readonly shape: InputShape;
      readonly seed: number;
      readonly begin: number;
      readonly end: number;
      readonly attention: AttentionOptions;
    }
  | { readonly kind: 'backward' }
  | { readonly kind: 'close' };

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface CommandOutcome {
  readonly ms: number;
  readonly error: Failure | null;
  /** Why attempts of this command were repeated, in order. */
  readonly replays: readonly Failure[];
  /** [out, lse] of forward, [dq, dk, dv] of backward. */
  readonly tensors: readonly Float32Array[];
}

/** A trainer process that makes steps when it is told to, and may be killed meanwhile. */
export interface TrainerWorker {
  readonly child: ChildProcess;
  readonly alive: boolean;
  /** Null when the process ended instead. */
  tell(command: TrainerCommand): Promise<CommandOutcome | null>;
  kill(): Promise<void>;
}

export function startTrainer(env: Readonly<Record<string, string>>): TrainerWorker {
  // Beside this file's compiled self: a forked process runs no TypeScript.
  const program = fileURLToPath(new URL('../dist/support/trainer-worker.js', import.meta.url));
  const child = fork(program, ['serve'], {
    serialization: 'advanced',
    execArgv: [],
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  // What is sent before its program listens is lost to a preloaded module that does.
  const listens = Promise.race([once(child, 'message'), exited]);
  return {
    child,
    get alive() {
      return child.exitCode === null && child.signalCode === null;
    },
    tell: async (command) => {
      await listens;
      if (!child.connected) return null;
      const answered = new Promise<CommandOutcome>((resolve) => {
        const listen = (message: { outcome?: CommandOutcome }): void => {
          if (message.outcome === undefined) return;
          child.off('message', listen);
          resolve(message.outcome);
        };
        child.on('message', listen);
      });
      child.send({ command });
      return await Promise.race([answered, exited.then(() => null)]);
    },
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The program of the process: one connection and one forward at a time. */
class Served {
  #connection: Cluster | null = null;
  #forward: AttentionResult | null = null;
  #dout: Parameters<AttentionResult['backward']>[0] | null = null;
  #replays: Failure[] = [];

  async obey(command: TrainerCommand): Promise<CommandOutcome> {
    const startedAt = performance.now();
    this.#replays = [];
    const outcome = (error: Failure | null, tensors: readonly Float32Array[]): CommandOutcome => ({
      ms: performance.now() - startedAt,
      error,
      replays: this.#replays,
      tensors,
    });
    try {
      return outcome(null, await this.#obey(command));
    } catch (thrown) {
      return outcome(plain(thrown), []);
    }
  }

  async #obey(command: TrainerCommand): Promise<Float32Array[]> {
    switch (command.kind) {
      case 'connect':
        this.#connection = await connect({
          ...command.options,
          onReplay: (error) => this.#replays.push(plain(error)),
          onWarning: () => undefined,
        });
        return [];
      case 'forward': {
        const inputs = stepInputs(command.shape, command.seed);
        const [q, k, v, dout] = [inputs.q, inputs.k, inputs.v, inputs.dout].map((tensor) =>
          shardOf(tensor, command.begin, command.end),
        );
        const attention = new UlyssesContextAttention(null, this.#connection!, command.attention);
        this.#forward = await attention.forward(q!, k!, v!);
        this.#dout = dout!;
        return [Float32Array.from(this.#forward.out.data), this.#forward.lse.slice()];
      }
      case 'backward': {
        const { dq, dk, dv } = await this.#forward!.backward(this.#dout!);
        return [dq, dk, dv].map(({ data }) => Float32Array.from(data));
      }
      case 'close':
        // A forward whose backward never was is let go of; a coordinator that is away hears of it by the time to live.
        await this.#forward?.release({ deadlineMs: 1_000 }).catch(() => undefined);
        this.#forward = null;
        this.#dout = null;
        await this.#connection?.close();
        this.#connection = null;
        return [];
    }
  }
}

function plain(thrown: unknown): Failure {
  const { code, message, details } = toUlyssesError(thrown);
  return { code, message, details };
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv[2] === 'serve') {
  const served = new Served();
  // Ends with whoever forked it.
  process.once('disconnect', () => process.exit(1));
  process.on('message', ({ command }: { command?: TrainerCommand }) => {
    if (command === undefined) return;
    void served.obey(command).then((outcome) => process.send?.({ outcome }));
  });
  process.send?.({ listens: true });
}
