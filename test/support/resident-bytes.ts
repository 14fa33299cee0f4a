import { readFile } from 'node:fs/promises';

/**
 * Resident memory of processes, summed (Linux: VmRSS of /proc/PID/status), without what they share: that has a fixed size, is
 * touched bit by bit, and counts again in every process that has read of it. `test/fault/shared-memory.test.ts` looks after it.
 */
export async function residentBytes(pids: readonly number[]): Promise<number> {
  let sum = 0;
  for (const pid of pids) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const kibibytes = (name: string): number => {
      const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
      if (found === undefined) throw new Error(`/proc/${pid}/status has no ${name}`);
      return Number(found);
    };
    sum += (kibibytes('VmRSS') - kibibytes('RssShmem')) * 1024;
  }
  return sum;
}
