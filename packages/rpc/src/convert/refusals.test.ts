import { describe, expect, it } from 'vitest';
import { UlyssesError, type ErrorCode } from '@ulysses/errors';
import type { Mask } from '@ulysses/plan';
import { wireCodec, type WireInput } from '../load-proto.js';
import type { PlanStep, StepKey, StepView } from '../messages.js';
import { coordinatorMethods, rankMethods } from '../services.js';
import { errorFromProto, errorToProto } from './error.js';
import { planStepToProto } from './plan-step.js';

const STEP: StepKey = { job: 'job', session: 'session', call: 3, pass: 'forward', attempt: 1 };
const MASK: Mask = { left: null, right: 0, segments: null, validRanges: null };
const VIEW: StepView = {
  dtype: 'f32',
  layout: 'bshd',
  batch: 2,
  qHeads: 8,
  kvHeads: 2,
  headSize: 64,
  qRows: 100,
  kvRows: 100,
  mask: MASK,
  scale: 0.125,
  strategy: 'balanced',
  keep: 'store',
  attentionMaskLengths: null,
  attentionMaskExtent: null,
  gatherSizeQ: null,
  gatherSizeKv: null,
  clientCalculator: null,
  gatherSizeCalculator: null,
  calculatorArguments: null,
  kvCachePolicy: null,
  kvCacheBudgetBytes: null,
  kvCachePolicyUnaligned: false,
};
const PLAN_STEP: PlanStep = {
  step: STEP,
  ownerIndex: 0,
  ownerCount: 1,
  view: VIEW,
  forward: null,
  releaseForward: false,
  direct: false,
};
const { request } = coordinatorMethods.planStep;

/** The bytes of a PlanStepRequest that this build would not send. */
function bytesWith(change: (message: WireInput<'PlanStepRequest'>) => void): Buffer {
  const message = planStepToProto(PLAN_STEP);
  change(message);
  return wireCodec('PlanStepRequest').encode(message);
}

function failure(action: () => unknown): { code: ErrorCode; field: unknown; message: string } {
  try {
    action();
  } catch (thrown) {
    if (thrown instanceof UlyssesError) {
      return { code: thrown.code, field: thrown.details.field, message: thrown.message };
    }
    throw thrown;
  }
  throw new Error('nothing was refused');
}

describe('a request from the wire is refused when', () => {
  it('an enum value is unknown, and the message lists the known ones', () => {
    const bytes = bytesWith(({ view }) => Object.assign(view!, { dtype: 9 }));
    const { code, field, message } = failure(() => request.decode(bytes));
    expect([code, field]).toEqual(['UNSUPPORTED', 'PlanStepRequest.view.dtype']);
    expect(message).toContain('f32, bf16, f16');
  });

  it('an enum was left unspecified', () => {
    const bytes = bytesWith(({ view }) => delete view!.layout);
    expect(failure(() => request.decode(bytes))).toMatchObject({
      code: 'UNSUPPORTED',
      field: 'PlanStepRequest.view.layout',
    });
  });

  it('a message it needs is absent, by the path of that message', () => {
    const noView = bytesWith((message) => delete message.view);
    const noMask = bytesWith(({ view }) => delete view!.mask);
    expect(failure(() => request.decode(noView))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      field: 'PlanStepRequest.view',
    });
    expect(failure(() => request.decode(noMask)).field).toBe('PlanStepRequest.view.mask');
  });

  it('the gather-size calculator has another name', () => {
    const bytes = bytesWith(({ view }) => Object.assign(view!, { gatherSizeCalculator: 'clever' }));
    expect(failure(() => request.decode(bytes)).message).toContain('default, dynamic, custom');
  });

  it('only one side of a packed batch has cu_seqlens', () => {
    const bytes = bytesWith(({ view }) => Object.assign(view!.mask!, { cuSeqlensKv: [0, 4] }));
    expect(failure(() => request.decode(bytes))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      field: 'PlanStepRequest.view.mask.cu_seqlens_q',
    });
  });

  it('valid ranges are of queries alone', () => {
    const bytes = bytesWith(({ view }) => Object.assign(view!.mask!, { validQ: [{ begin: 0, end: 4 }] }));
    expect(failure(() => request.decode(bytes))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      field: 'PlanStepRequest.view.mask.valid_kv',
    });
  });

  it('its bytes are no message', () => {
    const { code, message } = failure(() => request.decode(Buffer.from([0x0a, 0xff, 0xff])));
    expect(code).toBe('SHAPE_MISMATCH');
    expect(message).toContain('ulysses.v1.PlanStepRequest');
  });

  it('a rank command is of a kind this build does not know', () => {
    expect(failure(() => rankMethods.steps.request.decode(Buffer.alloc(0)))).toMatchObject({
      code: 'UNSUPPORTED',
      field: 'StepsRequest.command',
    });
  });
});

describe('a request is not sent when', () => {
  it.each([2 ** 53, -1, 0.5, NaN])('a 64-bit field is %s, which would wrap or be rounded', (call) => {
    expect(failure(() => request.encode({ ...PLAN_STEP, step: { ...STEP, call } }))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      field: 'PlanStepRequest.step.call',
    });
  });

  it('a 32-bit field is 2^32, which would become 0', () => {
    expect(failure(() => request.encode({ ...PLAN_STEP, ownerCount: 2 ** 32 })).field).toBe(
      'PlanStepRequest.ownerCount',
    );
  });

  it('a list that means something when absent is empty', () => {
    const view = { ...VIEW, attentionMaskLengths: [] };
    expect(failure(() => request.encode({ ...PLAN_STEP, view })).code).toBe('SHAPE_MISMATCH');
  });

  it('it is larger than a receiver accepts', () => {
    const view = { ...VIEW, calculatorArguments: 'x'.repeat(17 * 1024 * 1024) };
    expect(failure(() => request.encode({ ...PLAN_STEP, view })).field).toBe('size of PlanStepRequest');
  });
});

describe('a 64-bit integer that a number cannot hold', () => {
  // Field 3 (`call`), varint: 2^53, one more than the largest that is exact.
  const tooLarge = Buffer.from([0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
  const largest = Buffer.from([0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
  const codec = wireCodec('StepKey');

  it('is refused on decoding', () => {
    expect(failure(() => codec.decode(tooLarge))).toMatchObject({
      code: 'SHAPE_MISMATCH',
      field: 'StepKey.call',
    });
    expect(codec.decode(largest).call).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('is found inside lists of messages too', () => {
    const ranges = wireCodec('Mask').encode({
      validQ: [
        { begin: 0, end: 1 },
        { begin: 2, end: 3 },
      ],
    });
    // The last byte is `end` of the second range: replaced by the varint of 2^53, with the lengths before it.
    const grown = Buffer.concat([ranges.subarray(0, -1), tooLarge.subarray(1)]);
    const lengthAt = ranges.length - 5;
    grown[lengthAt] = grown[lengthAt]! + 7;
    expect(failure(() => wireCodec('Mask').decode(grown)).field).toBe('Mask.validQ[1].end');
  });
});

describe('an error on the wire', () => {
  it('keeps what is not text as text', () => {
    const error = new UlyssesError('OVERLOADED', 'full', { rank: 2, list: [1], absent: undefined });
    expect(errorToProto(error).details).toEqual({ rank: '2', list: '[1]' });
  });

  it('is cut before it outgrows the trailers', () => {
    const details = Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`field${i}`, '😀'.repeat(5000)]),
    );
    const wire = errorToProto(new UlyssesError('INVARIANT', 'm'.repeat(100_000), details));
    expect(wireCodec('Error').encode(wire).length).toBeLessThan(40_000);
  });

  it('with a code that this build does not know is INVARIANT and keeps the code', () => {
    const error = errorFromProto({ code: 'NEW_ONE', message: 'hm', details: {} }, 'Error');
    expect(error).toMatchObject({ code: 'INVARIANT', message: 'unknown error code "NEW_ONE": hm' });
  });
});
