import { beforeAll, describe, it } from 'vitest';
import type { WholeResult } from '../support/cluster-step.js';
import { expectSameBits } from '../support/expect-attention.js';
import { stepInputs } from '../support/step-inputs.js';
import { onLinks, type Links } from './on-links.js';

/** 2 MiB of q and dout at the largest owner: more than regions may have of the shared memory, a quarter of which is for staging. */
const INPUTS = stepInputs({ rows: 1801, batch: 1, qHeads: 5, kvHeads: 1, headSize: 128 }, 3);
/** A file of its own, and so a process: the first connection of a process that shares memory decides its size. */
const STAGED: Links = { kind: 'staged', transport: 'auto', sharedBytes: 2 ** 21 };
const TCP: Links = { kind: 'tcp', transport: 'tcp', sharedBytes: 0 };

describe('the bits of out, LSE, dq, dk and dv are the same as over TCP when rows are copied to shared memory to be sent', () => {
  let expected: WholeResult;
  beforeAll(async () => {
    [expected] = await onLinks(INPUTS, { links: TCP, route: 'relay' });
  });

  it.each(['relay', 'direct'] as const)('over route %s', async (route) => {
    for (const staged of await onLinks(INPUTS, { links: STAGED, route })) expectSameBits(staged, expected);
  });
});
