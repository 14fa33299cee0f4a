import { connect, type TLSSocket } from 'node:tls';
import { UlyssesError } from '@ulysses/errors';
import { expectationOf, hostOf, type Certificates } from './certificates.js';

/** Longest that the peer is asked. */
const ASK_MS = 1000;

/**
 * Whether certificates are why no connection to `address` can be made: UNAUTHENTICATED that says what is wrong, or null.
 * grpc-js has the reason as text only, so the peer is asked again, by a handshake of our own.
 */
export async function tlsRefusal(
  address: string,
  certificates: Certificates | null,
): Promise<UlyssesError | null> {
  const reason = await (certificates === null
    ? refusalOfPlaintext(address)
    : refusalOfTls(address, certificates));
  if (reason === null) return null;
  const expected = certificates === null ? 'a peer in plaintext, as tls is not given' : 'mutual TLS';
  return new UlyssesError('UNAUTHENTICATED', `${address}: ${reason}`, {
    address,
    field: 'tls',
    value: reason,
    expected,
  });
}

async function refusalOfPlaintext(address: string): Promise<string | null> {
  return await asked(dial(address, {}), (socket, answer) => {
    socket.once('secureConnect', () => {
      answer('it speaks TLS, expected plaintext as no certificates are given');
    });
    socket.once('error', () => {
      answer(null);
    });
  });
}

async function refusalOfTls(address: string, certificates: Certificates): Promise<string | null> {
  const { servername, checkServerIdentity } = expectationOf(certificates.files, address);
  const dialled = dial(address, { ...certificates.pem, servername });
  return await asked(dialled, (socket, answer) => {
    let isSecure = false;
    socket.once('secureConnect', () => {
      isSecure = true;
      const why = socket.authorized
        ? checkServerIdentity('', socket.getPeerCertificate())?.message
        : // Declared as an error; it is a code of OpenSSL.
          String(socket.authorizationError);
      if (why !== undefined) answer(`its certificate is not accepted: ${why}`);
    });
    // Whoever accepts our certificate begins with its HTTP/2 settings; who does not, ends the connection.
    socket.once('data', () => {
      answer(null);
    });
    const ended = (failure?: NodeJS.ErrnoException): void => {
      const code = failure?.code ?? 'it ended the connection';
      if (isSecure) answer(`it does not accept this process's certificate: ${code}`);
      else if (!/^(ERR_SSL|EPROTO)/.test(code)) answer(null);
      else if (code.includes('_ALERT_')) answer(`it refuses the handshake: ${code}`);
      else answer(`it does not speak TLS, expected TLS as certificates are given: ${code}`);
    };
    socket.once('error', ended);
    socket.once('close', () => {
      ended();
    });
  });
}

function dial(address: string, options: object): TLSSocket {
  const port = Number(address.slice(address.lastIndexOf(':') + 1));
  // Judged below, where the reason is at hand.
  const judged = {
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ALPNProtocols: ['h2'],
  };
  return connect({ host: hostOf(address), port, ...options, ...judged });
}

/** What `listen` answers first; null after ASK_MS. */
async function asked(
  socket: TLSSocket,
  listen: (socket: TLSSocket, answer: (reason: string | null) => void) => void,
): Promise<string | null> {
  try {
    return await new Promise((resolve) => {
      socket.setTimeout(ASK_MS, () => {
        resolve(null);
      });
      listen(socket, resolve);
    });
  } finally {
    // What it still has to say is of no interest.
    socket.on('error', () => undefined).destroy();
  }
}
