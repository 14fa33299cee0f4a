import { expect, it } from 'vitest';
import { Traces } from './traces.js';

const traces = (): Traces<string> => new Traces((step) => step);

it('phases of a step follow each other, by the clock of the machine', () => {
  const kept = traces();
  const before = Date.now() * 1000;
  const now = performance.now();
  kept.add('job/s/0', 'wait', 0.25, now);
  kept.add('job/s/0', 'compute', 0.001, now + 1);
  const [wait, compute] = kept.find('job/s/0')?.spans ?? [];
  expect(wait?.phase).toBe('wait');
  expect(wait!.endUs - wait!.beginUs).toBeCloseTo(250_000, -1);
  expect(compute!.beginUs).toBeCloseTo(wait!.endUs, -1);
  expect(Math.abs(wait!.endUs - before)).toBeLessThan(1e6);
});

it('a step is found by its whole name, by whole parts from the left, or as the last one', () => {
  const kept = traces();
  for (const name of ['job/a/1', 'job/a/12', 'job/b/1']) kept.add(name, 'run', 0, 1);
  expect(kept.find('job/a/1')?.step).toBe('job/a/1');
  expect(kept.find('job/a')?.step).toBe('job/a/12');
  expect(kept.find('last')?.step).toBe('job/b/1');
  expect(kept.find('jo')).toBeNull();
});

it('the last 256 steps are kept, and a bounded number of phases of each that covers all of its time', () => {
  const kept = traces();
  for (let step = 0; step < 257; step++) kept.add(`job/${step}`, 'run', 0, step);
  expect(kept.find('job/0')).toBeNull();
  expect(kept.find('job/1')).not.toBeNull();
  for (let span = 0; span < 2000; span++) kept.add('job/1', 'compute', 0, 1);
  const spans = kept.find('job/1')!.spans;
  expect(spans).toHaveLength(512);
  expect(spans.at(-1)!.phase).toBe('rest');
  expect(spans.at(-1)!.beginUs).toBeLessThanOrEqual(spans.at(-1)!.endUs);
});
