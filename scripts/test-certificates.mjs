// Certificates for tests and benches: `node scripts/test-certificates.mjs DIRECTORY` writes the folders of FOLDERS into it,
// each with cert.pem, key.pem and ca.pem. A process of one folder is trusted by those whose ca.pem has the same authority.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { webcrypto } from 'node:crypto';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const LOOPBACK = [
  { type: 'ip', value: '127.0.0.1' },
  { type: 'ip', value: '::1' },
  { type: 'dns', value: 'localhost' },
];
const DAY_MS = 86_400_000;
const VALID = { from: -1, days: 30 };

/** What each folder holds. */
const FOLDERS = {
  member: { authority: 'cluster', names: LOOPBACK, ...VALID },
  other: { authority: 'cluster', names: LOOPBACK, ...VALID },
  expired: { authority: 'cluster', names: LOOPBACK, from: -3, days: 1 },
  elsewhere: { authority: 'cluster', names: [{ type: 'dns', value: 'ulysses.internal' }], ...VALID },
  stranger: { authority: 'stranger', names: LOOPBACK, ...VALID },
};

/** Writes all folders below `directory`. */
export async function writeTestCertificates(directory) {
  const authorities = { cluster: await authority('cluster'), stranger: await authority('stranger') };
  for (const [name, { authority: of, names, from, days }] of Object.entries(FOLDERS)) {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    const issuer = authorities[of];
    const certificate = await x509.X509CertificateGenerator.create({
      subject: `CN=${name}`,
      issuer: issuer.certificate.subject,
      ...validity(from, days),
      publicKey: keys.publicKey,
      signingKey: issuer.keys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.SubjectAlternativeNameExtension(names),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
      ],
    });
    const folder = join(directory, name);
    mkdirSync(folder, { recursive: true });
    const key = x509.PemConverter.encode(
      await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
      'PRIVATE KEY',
    );
    writeFileSync(join(folder, 'cert.pem'), `${certificate.toString('pem')}\n`);
    writeFileSync(join(folder, 'key.pem'), `${key}\n`, { mode: 0o600 });
    writeFileSync(join(folder, 'ca.pem'), `${issuer.certificate.toString('pem')}\n`);
  }
}

async function authority(name) {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=authority of ${name}`,
    ...validity(VALID.from, VALID.days),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return { keys, certificate };
}

function validity(fromDays, days) {
  const begin = Date.now() + fromDays * DAY_MS;
  return { notBefore: new Date(begin), notAfter: new Date(begin + days * DAY_MS) };
}

if (argv[1] === fileURLToPath(import.meta.url)) await writeTestCertificates(argv[2]);
