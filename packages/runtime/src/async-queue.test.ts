import { describe, expect, it } from 'vitest';
import { AsyncQueue } from './async-queue.js';

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const value of values) list.push(value);
  return list;
}

describe('an AsyncQueue', () => {
  it('delivers what was pushed before and while it is read, in order, and ends when it is closed', async () => {
    const queue = new AsyncQueue<number>();
    queue.push(1);
    queue.push(2);
    const reading = all(queue);
    await Promise.resolve();
    queue.push(3);
    queue.close();
    queue.push(4);
    expect(await reading).toEqual([1, 2, 3]);
  });

  it('ends a reader that waits when it is closed', async () => {
    const queue = new AsyncQueue<number>();
    const next = queue[Symbol.asyncIterator]().next();
    queue.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('is closed by a reader that leaves its loop', async () => {
    const queue = new AsyncQueue<number>();
    queue.push(1);
    queue.push(2);
    for await (const value of queue) {
      expect(value).toBe(1);
      break;
    }
    expect(queue.closed).toBe(true);
  });

  it('has one consumer', () => {
    const queue = new AsyncQueue<number>();
    queue[Symbol.asyncIterator]();
    expect(() => queue[Symbol.asyncIterator]()).toThrow('one consumer');
  });
});
