// For tests: a Redis (or Sentinel) of their own as a child process, through redis-server.mjs beside this file.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers';

const PROGRAM = new URL('redis-server.mjs', import.meta.url);
/** Fetching the packages for the first time is part of it. */
const READY_MS = 60_000;

export async function startRedis({ port = null, sentinel = null, tls = false, options = [] } = {}) {
  const args = [
    ...(port === null ? [] : ['--port', String(port)]),
    ...(sentinel === null ? [] : ['--sentinel', sentinel]),
    ...(tls ? ['--tls'] : []),
    ...['--', ...options],
  ];
  const child = fork(PROGRAM, args, { execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const exited = once(child, 'exit');
  const complaints = [];
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line));
  const ready = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', (line) => resolve(JSON.parse(line)));
    exited.then(() => reject(new Error(`redis-server ended:\n${complaints.join('\n')}`)), reject);
    setTimeout(() => reject(new Error(`redis-server is not ready after ${READY_MS} ms`)), READY_MS).unref();
  });
  try {
    const { port: listening, pid } = await ready;
    const stop = async () => {
      child.kill('SIGTERM');
      await exited;
    };
    return { port: listening, pid, stop };
  } catch (error) {
    child.kill('SIGTERM');
    throw error;
  }
}
