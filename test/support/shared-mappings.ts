import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Memory that processes of this host pass each other, as one of them maps it: file numbers. */
export interface SharedMappings {
  /** Written by the process itself. */
  readonly own: ReadonlySet<string>;
  /** Read in place. */
  readonly ofPeers: ReadonlySet<string>;
}

/** What a live process maps of it. */
export function sharedMappings(pid: number): SharedMappings {
  const own = new Set<string>();
  const ofPeers = new Set<string>();
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    if (!line.includes('/memfd:ulysses-arena')) continue;
    const [, access = '', , , file = ''] = line.split(/\s+/);
    (access.startsWith('rw') ? own : ofPeers).add(file);
  }
  return { own, ofPeers };
}

/** Files in /dev/shm that a live process maps or has open. */
export function namedSharedFiles(pid: number): string[] {
  const mapped = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  const open = readdirSync(`/proc/${pid}/fd`).map((number) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${number}`);
    } catch {
      // Closed meanwhile.
      return '';
    }
  });
  return [...mapped, ...open].filter((line) => line.includes('/dev/shm/'));
}
