import { fieldError } from '@ulysses/errors';
import { attentionBackward, attentionForward, type Isa } from '@ulysses/native';
import type { Device } from './device.js';

export interface CpuDeviceOptions {
  /** The most that one call may use. */
  readonly threads: number;
  /** Instruction set of the kernels. @default the best one that this machine has */
  readonly isa?: Isa;
}

/** The native kernels on this machine's cores. */
export function cpuDevice({ threads, isa }: CpuDeviceOptions): Device {
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw fieldError('CONFIG', 'threads', threads, 'an integer of at least 1');
  }
  return {
    name: 'cpu',
    forward: (job, units, { signal }) => attentionForward({ ...job, threads }, units, { signal, isa }),
    backward: (job, units, { signal }) => attentionBackward({ ...job, threads }, units, { signal, isa }),
  };
}
