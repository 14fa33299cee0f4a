import { fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { UlyssesError } from '@ulysses/errors';
import type { ClusterSettings } from './options.js';

/** A cluster that runs as a child of this process. */
export interface OwnCluster {
  /** host:port of its coordinator. */
  readonly address: string;
  /** Aborts, with the error as reason, when the cluster ends before `stop`. */
  readonly lost: AbortSignal;
  /** Ends the cluster and waits until it is gone. */
  stop(): Promise<void>;
}

const CLI = fileURLToPath(new URL('../../../services/cli/dist/main.js', import.meta.url));
const READY = /^ulysses: ready at (\S+)$/;
const STOP_MS = 10_000;
const LAST_LINES = 20;

/** Runs `ulysses up`; resolves when it says that it is ready, throws CONFIG with its last lines when it ends instead. */
export async function startCluster(settings: ClusterSettings, signal: AbortSignal): Promise<OwnCluster> {
  signal.throwIfAborted();
  // In a process group of its own, so that Ctrl-C reaches this process alone, which stops the cluster when it is done
  // with it. The IPC channel closes when this process is killed, and the cluster ends by itself.
  const child = fork(CLI, ['up', ...flags(settings)], {
    execArgv: [],
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });

  const lastLines: string[] = [];
  const ready = new Promise<string>((resolve) => {
    // Both outputs are read to the end: a child that fills an unread pipe would block.
    for (const input of [child.stdout!, child.stderr!]) {
      createInterface({ input }).on('line', (line) => {
        lastLines.push(line);
        if (lastLines.length > LAST_LINES) lastLines.shift();
        const address = READY.exec(line)?.[1];
        if (address !== undefined) resolve(address);
      });
    }
  });

  const lost = new AbortController();
  let stopping = false;
  const ended = new Promise<void>((resolve) => {
    const end = (reason: string): void => {
      const message = `the cluster ended: ${reason}; its last lines:\n${lastLines.join('\n')}`;
      if (!stopping) lost.abort(new UlyssesError('CONFIG', message));
      resolve();
    };
    child.once('error', ({ message }) => {
      end(message);
    });
    child.once('close', (code, killedBy) => {
      end(killedBy ?? `exit code ${code}`);
    });
  });

  const stop = async (): Promise<void> => {
    stopping = true;
    const kill = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.kill('SIGTERM');
    await ended;
    clearTimeout(kill);
  };

  try {
    const address = await Promise.race([ready, aborted(AbortSignal.any([signal, lost.signal]))]);
    return { address, lost: lost.signal, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function flags({ contextParallelSize, algo, kvCachePolicy }: ClusterSettings): string[] {
  return [
    ...['--context-parallel-size', String(contextParallelSize), '--log-level', 'warn'],
    ...(algo === null ? [] : ['--context-parallel-algo', algo]),
    ...(kvCachePolicy === null ? [] : ['--context-parallel-kv-cache-policy', kvCachePolicy]),
  ];
}

/** Rejects with the signal's reason once it aborts. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener(
      'abort',
      () => {
        reject(signal.reason as Error);
      },
      { once: true },
    );
  });
}
