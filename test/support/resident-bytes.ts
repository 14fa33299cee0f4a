import { readFile } from 'node:fs/promises';

/** Resident memory of processes, summed (Linux: the VmRSS line of /proc/PID/status). */
export async function residentBytes(pids: readonly number[]): Promise<number> {
  let sum = 0;
  for (const pid of pids) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
    if (kibibytes === undefined) throw new Error(`/proc/${pid}/status has no VmRSS`);
    sum += Number(kibibytes) * 1024;
  }
  return sum;
}
