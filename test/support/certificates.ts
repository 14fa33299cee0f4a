import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsFiles } from '@ulysses/client';
import { onTestFinished } from 'vitest';
import { writeTestCertificates } from '../../scripts/test-certificates.mjs';

export type Holder = 'member' | 'other' | 'expired' | 'elsewhere' | 'stranger';

/** Fresh ones, as scripts/test-certificates.mjs describes them, until the running test has ended. */
export async function certificates(): Promise<Readonly<Record<Holder, TlsFiles>>> {
  const folder = mkdtempSync(join(tmpdir(), 'ulysses-tls-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  await writeTestCertificates(folder);
  const files = (holder: Holder): TlsFiles => {
    const file = (what: string): string => join(folder, holder, `${what}.pem`);
    return { cert: file('cert'), key: file('key'), ca: file('ca') };
  };
  return {
    member: files('member'),
    other: files('other'),
    expired: files('expired'),
    elsewhere: files('elsewhere'),
    stranger: files('stranger'),
  };
}
