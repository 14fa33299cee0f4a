import { fileURLToPath } from 'node:url';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, UlyssesContextAttention, type TlsFiles } from '@ulysses/client';
import { UlyssesError } from '@ulysses/errors';
import type { PlaneCounters } from '@ulysses/native';
import { shardOf, stepInputs, type InputShape } from './step-inputs.js';
import { toForm, type TensorForm } from './tensor-forms.js';

/** What one trainer process is to do: a forward and a backward with its shard of the sequence. */
export interface TrainerCall {
  readonly address: string;
  readonly session: string;
  readonly ownerIndex: number;
  readonly ownerCount: number;
  readonly shape: InputShape;
  readonly seed: number;
  /** Rows of the sequence that it holds. */
  readonly begin: number;
  readonly end: number;
  readonly form: TensorForm;
  readonly lengths: readonly number[];
  readonly deadlineMs: number;
  /** The cluster is beyond loopback, without TLS. @default false */
  readonly insecure?: boolean;
  readonly tls?: TlsFiles;
}

/** How it went. */
export interface TrainerAnswer {
  /** Of its links, when it was done. */
  readonly counters: PlaneCounters;
  readonly error: { readonly code: string; readonly message: string; readonly details: object } | null;
  readonly out: Float32Array;
  readonly dq: Float32Array;
  readonly dk: Float32Array;
  readonly dv: Float32Array;
}

/**
 * Starts a process for every call, has all begin together, and returns what each answered. `place` is a command that runs another
 * one somewhere, as `ip netns exec NAME` does.
 */
export async function runTrainers(
  calls: readonly TrainerCall[],
  place: readonly string[] = [],
): Promise<TrainerAnswer[]> {
  const trainer = fileURLToPath(new URL('../dist/support/trainer-process.js', import.meta.url));
  const children = calls.map((call) => {
    const [program, ...args] = [...place, process.execPath, trainer, JSON.stringify(call)];
    return spawn(program, args, {
      serialization: 'advanced',
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    });
  });
  try {
    await Promise.all(children.map((child) => once(child, 'message')));
    const answers = children.map(async (child) => {
      const answer = once(child, 'message');
      child.send('go');
      return ((await answer) as [TrainerAnswer])[0];
    });
    return await Promise.all(answers);
  } finally {
    for (const child of children) child.kill();
  }
}

/** The program of the process. */
async function train(call: TrainerCall): Promise<TrainerAnswer> {
  const { address, session, ownerIndex, ownerCount, deadlineMs, insecure = false, lengths } = call;
  const where = { address, insecure, ...(call.tls === undefined ? {} : { tls: call.tls }) };
  const connection = await connect({ ...where, session, ownerIndex, ownerCount, deadlineMs });
  const inputs = stepInputs(call.shape, call.seed);
  const [q, k, v, dout] = [inputs.q, inputs.k, inputs.v, inputs.dout].map((tensor) =>
    toForm(shardOf(tensor, call.begin, call.end), call.form),
  );
  const go = once(process, 'message');
  process.send?.('ready');
  await go;
  const nothing = new Float32Array(0);
  try {
    const attention = new UlyssesContextAttention(null, connection, { causal: true });
    const step = await attention.forward(q!, k!, v!, { attentionMaskLengths: lengths });
    const { dq, dk, dv } = await step.backward(dout!);
    const [out, ...gradients] = [step.out, dq, dk, dv].map(({ data }) => Float32Array.from(data));
    const { counters } = connection.plane;
    return { counters, error: null, out: out!, dq: gradients[0]!, dk: gradients[1]!, dv: gradients[2]! };
  } catch (thrown) {
    if (!(thrown instanceof UlyssesError)) throw thrown;
    const { code, message, details } = thrown;
    const { counters } = connection.plane;
    return {
      counters,
      error: { code, message, details },
      out: nothing,
      dq: nothing,
      dk: nothing,
      dv: nothing,
    };
  } finally {
    await connection.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // Ends with whoever forked it.
  process.once('disconnect', () => process.exit(1));
  process.send?.(await train(JSON.parse(process.argv[2] ?? '') as TrainerCall));
}
