import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EventQueue } from './event-queue.js';

it('events come in order of time, and those of one time as they were added', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 60 }), (times) => {
      const queue = new EventQueue();
      times.forEach((time, event) => queue.add(time, event));
      const expected = times
        .map((time, event) => ({ time, event }))
        .sort((a, b) => a.time - b.time || a.event - b.event);
      expect(times.map(() => queue.take())).toEqual(expected);
      expect(queue.size).toBe(0);
    }),
  );
});
