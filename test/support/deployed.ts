import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'vitest';
import type { Container } from './deployment.js';
import { largestDeviation } from './error-bound.js';
import { referenceOf } from './expect-attention.js';
import type { Namespaces } from './namespaces.js';
import { causal } from './reference-mask.js';
import { stepInputs } from './step-inputs.js';
import { runTrainers, type TrainerCall } from './trainer-process.js';

const SHAPE = { rows: 203, batch: 1, qHeads: 6, kvHeads: 2, headSize: 32 };

/** Containers of a deployment that run, each on its host. */
export class Deployed {
  readonly #network: Namespaces;
  readonly #running = new Map<string, { container: Container; child: ChildProcess; log: string[] }>();

  constructor(network: Namespaces) {
    this.#network = network;
  }

  start(host: string, container: Container): void {
    const child = this.#network.start(host, container);
    const log: string[] = [];
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => log.push(String(text)));
    this.#running.set(host, { container, child, log });
  }

  /** Exit code and output of a container's command, or of another one in its place. */
  async run(
    host: string,
    container: Container,
    argv = container.argv,
  ): Promise<{ code: number; output: string }> {
    const child = this.#network.start(host, container, argv);
    let output = '';
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (text) => (output += String(text)));
    const [code] = (await once(child, 'close')) as [number];
    return { code, output };
  }

  /** The same beside what runs there, as `docker compose exec` does it. */
  async inside(host: string, argv: readonly string[]): Promise<{ code: number; output: string }> {
    return this.run(host, this.#on(host).container, argv);
  }

  async isReady(host: string): Promise<boolean> {
    return (await this.inside(host, this.#on(host).container.probe)).code === 0;
  }

  /** Fails when the container has ended, with what it said. */
  requireRunning(host: string): void {
    const { child } = this.#on(host);
    if (child.exitCode === null && child.signalCode === null) return;
    throw new Error(`${host} has ended\n${this.said(host)}`);
  }

  /** The newest lines. */
  said(host: string): string {
    return this.#on(host).log.slice(-20).join('');
  }

  /** Expects that those of the hosts end in order when they are told to, one after the other. */
  async expectOrderlyEnd(hosts: readonly string[]): Promise<void> {
    for (const host of hosts) {
      const { child } = this.#on(host);
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      expect(await exited, `${host}: ${this.said(host)}`).toEqual([0, null]);
    }
  }

  #on(host: string): { container: Container; child: ChildProcess; log: string[] } {
    const running = this.#running.get(host);
    if (running === undefined) throw new Error(`nothing was started on ${host}`);
    return running;
  }
}

/** Expects that the step of a trainer on a host of its own is that of the reference. */
export async function expectStep(
  place: readonly string[],
  where: Pick<TrainerCall, 'address' | 'session' | 'insecure' | 'tls'>,
): Promise<void> {
  const whole = { ownerIndex: 0, ownerCount: 1, begin: 0, end: SHAPE.rows, lengths: [SHAPE.rows] };
  const form = { dtype: 'f32', layout: 'sbhd' } as const;
  const call = { ...where, ...whole, shape: SHAPE, seed: 5, form, deadlineMs: 30_000 };
  const [answer] = await runTrainers([call], place);
  expect(answer?.error).toBeNull();
  const expected = referenceOf(stepInputs(SHAPE, 5), causal);
  for (const name of ['out', 'dq', 'dk', 'dv'] as const) {
    expect(largestDeviation(answer![name], expected[name]).ratio, name).toBeLessThanOrEqual(1);
  }
}
