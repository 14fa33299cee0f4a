import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Deferred } from './deferred.js';
import { createLogger } from './logger.js';
import { handleShutdown } from './shutdown.js';

/** Stands for `process`: signals are events, exit is recorded. */
class Host extends EventEmitter {
  readonly exited = new Deferred<number>();
  readonly codes: number[] = [];
  exit = (code: number): void => {
    this.codes.push(code);
    this.exited.resolve(code);
  };
}

function start(deadlineMs = 60_000) {
  const host = new Host();
  const shutdown = handleShutdown({
    logger: createLogger({ name: 'test', level: 'silent' }),
    deadlineMs,
    host,
  });
  return { host, shutdown };
}

describe('a shutdown', () => {
  it('on SIGTERM closes the last part first, one after the other, then exits with 0', async () => {
    const { host, shutdown } = start();
    const events: string[] = [];
    for (const name of ['store', 'server']) {
      shutdown.onShutdown(name, async () => {
        events.push(`${name} closing`);
        await Promise.resolve();
        events.push(`${name} closed`);
      });
    }
    host.emit('SIGTERM');
    expect(await host.exited.promise).toBe(0);
    expect(events).toEqual(['server closing', 'server closed', 'store closing', 'store closed']);
    expect(shutdown.signal.reason).toMatchObject({ code: 'CANCELLED' });
  });

  it('exits at once on a second signal', async () => {
    const { host, shutdown } = start();
    shutdown.onShutdown('hangs', () => new Promise(() => undefined));
    host.emit('SIGINT');
    host.emit('SIGINT');
    expect(await host.exited.promise).toBe(130);
  });

  it('closes the other parts when one throws, and exits with 1', async () => {
    const { host, shutdown } = start();
    let closed = false;
    shutdown.onShutdown('store', () => {
      closed = true;
    });
    shutdown.onShutdown('server', () => {
      throw new Error('cannot');
    });
    await shutdown.begin('lease lost', 3);
    expect([closed, host.codes]).toEqual([true, [1]]);
  });

  it('gives parts that hang no more than the deadline, and tells them', async () => {
    const { host, shutdown } = start(20);
    let closed = false;
    const told = new Deferred<unknown>();
    shutdown.onShutdown('store', () => {
      closed = true;
    });
    shutdown.onShutdown('server', (signal) => {
      signal.addEventListener('abort', () => {
        told.resolve(signal.reason);
      });
      return new Promise(() => undefined);
    });
    host.emit('SIGTERM');
    expect(await host.exited.promise).toBe(1);
    expect(closed).toBe(true);
    expect(await told.promise).toMatchObject({ code: 'DEADLINE' });
  });

  it('begun twice runs once, with the first exit code', async () => {
    const { host, shutdown } = start();
    let runs = 0;
    shutdown.onShutdown('server', () => {
      runs++;
    });
    await Promise.all([shutdown.begin('done', 4), shutdown.begin('again', 5)]);
    expect([runs, host.codes]).toEqual([1, [4]]);
    expect(host.listenerCount('SIGTERM')).toBe(0);
  });
});
