import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Where in a step, seen from the process that is there. */
export type FaultPoint = 'prepare' | 'transfer' | 'compute' | 'return' | 'sent' | 'received' | 'commit';

/** A signal that is sent once, from that point of the next step of that pass; without a pid to itself. */
export interface Fault {
  readonly point: FaultPoint;
  readonly pass: 'forward' | 'backward';
  readonly pid: number | null;
  readonly signal: NodeJS.Signals;
}

/** What a process holds. */
export interface Level {
  readonly descriptors: number;
  /** In native memory. */
  readonly regionBytes: number;
  /** Of JavaScript, alive after a collection. */
  readonly heapBytes: number;
  /** Of buffers that JavaScript holds. */
  readonly externalBytes: number;
  /** Resident beside V8's heap and the pool of regions, which keep pages for later. */
  readonly nativeBytes: number;
  readonly residentBytes: number;
}

/** For the environment of a process that is to have fault points; it also collects no garbage but when asked for its level. */
export const WITH_FAULT_POINTS = {
  NODE_OPTIONS: `--import ${new URL('fault-point-preload.mjs', import.meta.url).href}`,
};

/** For processes whose resident memory is to be what they hold: the allocator keeps nothing that is freed. */
export const WITH_STRICT_MALLOC = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
};

const ANSWER_MS = 10_000;

/** Resolves when the fault will happen. */
export async function arm(child: ChildProcess, fault: Fault): Promise<void> {
  await asked(child, { fault }, 'armed');
}

export async function levelOf(child: ChildProcess): Promise<Level> {
  return (await asked(child, { level: true }, 'level')) as Level;
}

/** Calls back when the armed fault happens; a process that ends by it may say so before. */
export function onHit(child: ChildProcess, hit: () => void): void {
  child.on('message', (message: object) => {
    if ('hit' in message) hit();
  });
}

async function asked(child: ChildProcess, question: object, answer: string): Promise<unknown> {
  const answered = new AbortController();
  const signal = AbortSignal.any([answered.signal, AbortSignal.timeout(ANSWER_MS)]);
  const told = new Promise<unknown>((resolve) => {
    const listen = (message: object): void => {
      if (!(answer in message)) return;
      child.off('message', listen);
      resolve((message as Record<string, unknown>)[answer]);
    };
    child.on('message', listen);
  });
  child.send(question);
  const ended = once(child, 'exit', { signal }).then(
    () => Promise.reject(new Error(`process ${child.pid} ended before it was ${answer}`)),
    () => Promise.reject(new Error(`process ${child.pid} did not answer ${JSON.stringify(question)}`)),
  );
  try {
    return await Promise.race([told, ended]);
  } finally {
    answered.abort();
  }
}
