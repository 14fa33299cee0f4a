import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answer, Command } from './all-to-all-member.js';

/** Transport and memory of the rows that are sent. */
const LINKS = {
  tcp: ['tcp', 'own'],
  mtls: ['tcp', 'own'],
  unix: ['unix', 'own'],
  'shm-staged': ['auto', 'own'],
  'shm-pool': ['auto', 'shared'],
} as const;
export type Link = keyof typeof LINKS;

const CERTIFICATES = fileURLToPath(new URL('../../scripts/test-certificates.mjs', import.meta.url));

/** One window: milliseconds of every repeat, and the CPU seconds of all members together. */
export interface ExchangeTimes {
  readonly ms: readonly number[];
  readonly cpuSeconds: number;
}

/** The product's data plane as an all-to-all between processes of this host. */
export class AllToAll {
  readonly #members: readonly ChildProcess[];
  #call = 0;

  private constructor(members: readonly ChildProcess[]) {
    this.#members = members;
  }

  static async start(members: number, mib: number, link: Link): Promise<AllToAll> {
    const path = fileURLToPath(new URL('all-to-all-member.js', import.meta.url));
    const certificates = link === 'mtls' ? mkdtempSync(join(tmpdir(), 'ulysses-bench-')) : null;
    if (certificates !== null) execFileSync(process.execPath, [CERTIFICATES, certificates]);
    const children = Array.from({ length: members }, (_, index) =>
      fork(path, [index, members, mib, ...LINKS[link], certificates ?? ''].map(String), {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
    const listening = await Promise.all(children.map(answerOf));
    const addresses = listening.map((answer) => (answer.kind === 'listening' ? answer.address : ''));
    const exchange = new AllToAll(children);
    await exchange.#all({ kind: 'connect', addresses });
    if (certificates !== null) rmSync(certificates, { recursive: true });
    return exchange;
  }

  async measure(repeats: number): Promise<ExchangeTimes> {
    const before = await this.#cpuSeconds();
    const ms: number[] = [];
    for (let repeat = 0; repeat < repeats; repeat++) {
      const call = this.#call++;
      await this.#all({ kind: 'prepare', call });
      const began = performance.now();
      await this.#all({ kind: 'go', call });
      ms.push(performance.now() - began);
    }
    return { ms, cpuSeconds: (await this.#cpuSeconds()) - before };
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#members.map(async (member) => {
        const exited = once(member, 'exit');
        member.disconnect();
        await exited;
      }),
    );
  }

  async #cpuSeconds(): Promise<number> {
    const answers = await this.#all({ kind: 'cpu' });
    return answers.reduce((sum, answer) => sum + (answer.kind === 'cpu' ? answer.seconds : 0), 0);
  }

  async #all(command: Command): Promise<Answer[]> {
    const answers = this.#members.map(answerOf);
    for (const member of this.#members) member.send(command);
    return await Promise.all(answers);
  }
}

async function answerOf(member: ChildProcess): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const onExit = (code: number | null): void =>
      reject(new Error(`a member of the all-to-all exited with ${code}`));
    member.once('exit', onExit);
    member.once('message', (answer) => {
      member.off('exit', onExit);
      resolve(answer as Answer);
    });
  });
}
