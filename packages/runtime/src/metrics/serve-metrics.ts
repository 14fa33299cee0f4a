import { createServer, type Server, type ServerResponse } from 'node:http';
import { fieldError } from '@ulysses/errors';
import type { Metrics } from './metrics.js';

export interface ServeMetricsOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly metrics: Metrics;
  /** What else is answered, by path such as /readyz: null for yes, which is `ready`; otherwise why not, in a few words. */
  readonly probes: Readonly<Record<`/${string}`, () => string | null>>;
}

export interface MetricsServer {
  /** `host:port` with the real port. */
  readonly address: string;
  close(): Promise<void>;
}

/** Few and quick: who reads here is a scraper or a probe. A client that is neither loses its connection. */
const LIMITS = {
  requestTimeout: 5_000,
  headersTimeout: 5_000,
  keepAliveTimeout: 15_000,
  maxHeaderSize: 8_192,
};
const CONNECTIONS = 32;

/** Opens the HTTP port of `--metrics`. Throws CONFIG when it cannot listen. */
export async function serveMetrics(options: ServeMetricsOptions): Promise<MetricsServer> {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(options.listen) ?? [];
  if (host === undefined) throw fieldError('CONFIG', 'metrics', options.listen, 'HOST:PORT');
  const server = createServer({ ...LIMITS, connectionsCheckingInterval: 1_000 }, (request, response) => {
    // A body is nothing that we read.
    request.resume();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(response, 405, 'only GET is answered');
      return;
    }
    void respond(request.url ?? '', response, options);
  });
  server.maxConnections = CONNECTIONS;
  const real = await listen(server, host.replace(/^\[(.*)\]$/, '$1'), Number(port), options.listen);
  return {
    address: `${host}:${real}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function respond(
  url: string,
  response: ServerResponse,
  { metrics, probes }: ServeMetricsOptions,
): Promise<void> {
  const path = url.replace(/\?.*$/s, '');
  const probe = new Map(Object.entries(probes)).get(path);
  if (probe !== undefined) {
    const reason = probe();
    answer(response, reason === null ? 200 : 503, reason ?? path.slice(1).replace(/z$/, ''));
    return;
  }
  switch (path) {
    case '/metrics':
      answer(response, 200, await metrics.text(), metrics.contentType);
      break;
    case '/healthz':
      answer(response, 200, 'alive');
      break;
    default:
      answer(response, 404, `expected one of ${['/metrics', '/healthz', ...Object.keys(probes)].join(', ')}`);
  }
}

function answer(response: ServerResponse, status: number, text: string, type = 'text/plain'): void {
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' });
  response.end(text.endsWith('\n') ? text : `${text}\n`);
}

function listen(server: Server, host: string, port: number, asked: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ message }) => {
      reject(fieldError('CONFIG', 'metrics', asked, `a host:port that is free (${message})`));
    });
    server.listen(port, host, () => {
      const bound = server.address();
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port);
    });
  });
}
