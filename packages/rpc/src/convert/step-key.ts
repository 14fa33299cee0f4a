import type { WireInput, WireOutput } from '../load-proto.js';
import type { Pass, StepKey } from '../messages.js';
import { enumFields, required } from './fields.js';

const pass = enumFields<Pass, 'PASS_FORWARD' | 'PASS_BACKWARD'>({
  forward: 'PASS_FORWARD',
  backward: 'PASS_BACKWARD',
});

/** How a step is asked for in a status: `job/session/call/pass/attempt`. */
export function traceName({ job, session, call, pass, attempt }: StepKey): string {
  return [job, session, call, pass, attempt].join('/');
}

export function stepKeyToProto(key: StepKey): WireInput<'StepKey'> {
  return {
    job: key.job,
    session: key.session,
    call: key.call,
    pass: pass.toProto(key.pass, 'StepKey.pass'),
    attempt: key.attempt,
  };
}

/** `path` names the field that holds the key; an absent key is refused. */
export function stepKeyFromProto(message: WireOutput<'StepKey'> | null, path: string): StepKey {
  const key = required(message, path, 'StepKey');
  return {
    job: key.job,
    session: key.session,
    call: key.call,
    pass: pass.fromProto(key.pass, `${path}.pass`),
    attempt: key.attempt,
  };
}

export function optionalStepKeyToProto(key: StepKey | null): WireInput<'StepKey'> | null {
  return key === null ? null : stepKeyToProto(key);
}

export function optionalStepKeyFromProto(
  message: WireOutput<'StepKey'> | null,
  path: string,
): StepKey | null {
  return message === null ? null : stepKeyFromProto(message, path);
}
