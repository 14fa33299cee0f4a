import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { Deferred } from './index.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const never = new AbortController().signal;

describe('waiting for a deferred', () => {
  it('ends as it does, before and after it has settled', async () => {
    const deferred = new Deferred<number>();
    const waiting = deferred.orAborted(never);
    deferred.resolve(1);
    expect(await waiting).toBe(1);
    expect(await deferred.orAborted(never)).toBe(1);
    const failing = new Deferred();
    const failed = failing.orAborted(never);
    failing.reject(new Error('no'));
    await expect(failed).rejects.toThrow('no');
    await expect(failing.orAborted(never)).rejects.toThrow('no');
  });

  it('ends with its signal, also one that has aborted', async () => {
    const deferred = new Deferred();
    const leaving = new AbortController();
    const waiting = deferred.orAborted(leaving.signal);
    leaving.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    await expect(deferred.orAborted(leaving.signal)).rejects.toThrow('left');
    deferred.resolve();
    await expect(deferred.orAborted(never)).resolves.toBeUndefined();
  });

  it('leaves nothing behind when it was given up', async () => {
    const deferred = new Deferred();
    const reason = await giveUp(deferred);
    // What a promise has settled is let go of by the next turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    expect(reason.deref()).toBeUndefined();
    deferred.resolve();
  });
});

/** Returns why it was given up, which only whoever waited knew. */
async function giveUp(deferred: Deferred): Promise<WeakRef<object>> {
  const leaving = new AbortController();
  const waiting = deferred.orAborted(leaving.signal).then(
    () => 'settled',
    () => 'left',
  );
  leaving.abort(new Error('left'));
  expect(await waiting).toBe('left');
  return new WeakRef(leaving.signal.reason as object);
}
