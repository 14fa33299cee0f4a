import type { CommandOutcome, Failure } from '../support/trainer-worker.js';
import type { Scenario } from './scenario.js';

/** Whom a fault in this phase cannot go unnoticed by: everything is agreed, and not everything is there. */
const NOTICED: readonly Scenario['phase'][] = ['prepare', 'transfer', 'compute', 'return'];
/** Victims whose loss all owners survive, every one of them. */
const SURVIVED: readonly Scenario['victim'][] = ['rank', 'stopped rank', 'redis'];

/** Whom errors have to name. */
export interface Suspect {
  /** For the message of one that names another. */
  readonly expected: string;
  readonly isNamedBy: (failure: Failure) => boolean;
}

/** Named as the one who was lost, and not only mentioned, as a rank is that noticed. */
export function peerNamed(peer: string): Suspect {
  return { expected: peer, isNamedBy: ({ details }) => details['peer'] === peer };
}

/** All that an owner heard of; that a standby sent it to the leader is no failure. */
export function failuresOf({ replays, error }: CommandOutcome): Failure[] {
  const failures = [...replays, ...(error === null ? [] : [error])];
  return failures.filter(({ details }) => details['leader'] === undefined);
}

/**
 * The first failure that an owner heard of names the victim. An owner that heard of none must have its result; one that
 * got an error must have been told of a fault that nobody could have survived.
 */
export function expectCause(
  { victim, phase, splits }: Scenario,
  suspect: Suspect | null,
  outcomes: readonly (CommandOutcome | null)[],
): void {
  outcomes.forEach((outcome, index) => {
    // The trainer that was killed.
    if (outcome === null) return;
    const failures = failuresOf(outcome);
    const said = JSON.stringify(failures);
    const [first] = failures;
    if (suspect === null) {
      if (first !== undefined) throw new Error(`owner ${index} noticed: ${said}`);
      return;
    }
    if (first === undefined) {
      if (NOTICED.includes(phase) && outcomes.length > 0 && victim !== 'partition')
        throw new Error(`owner ${index} never heard of a fault in ${phase}`);
    } else if (!suspect.isNamedBy(first)) {
      throw new Error(`owner ${index} was told of another cause than ${suspect.expected}: ${said}`);
    }
    if (outcome.error !== null && (SURVIVED.includes(victim) || splits.length === 1))
      if (victim !== 'partition') throw new Error(`owner ${index} did not survive it: ${said}`);
  });
}
