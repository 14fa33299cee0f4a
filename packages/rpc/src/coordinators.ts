import type { UlyssesError } from '@ulysses/errors';
import type { ConnectionOptions } from '@ulysses/runtime';
import { connectCoordinator, type CoordinatorClient } from './connect.js';

/**
 * The coordinators of one cluster, of which one leads. Calls go to the one that last worked; a connection stays open when
 * another takes its place, as calls may still run on it.
 */
export class Coordinators {
  readonly #addresses: string[];
  readonly #options: ConnectionOptions;
  readonly #clients = new Map<string, CoordinatorClient>();
  #current: CoordinatorClient;

  /** One `host:port`, or several with commas between them, see `connectCoordinator`. */
  constructor(addresses: string, options: ConnectionOptions = {}) {
    this.#options = options;
    this.#addresses = addresses.split(',').map((address) => address.trim());
    const [first] = this.#addresses.map((address) => this.#connect(address));
    this.#current = first ?? this.#connect(addresses);
  }

  get current(): CoordinatorClient {
    return this.#current;
  }

  /** Turns to another coordinator if `error`, which came from `used`, says that another is better. */
  failOver(used: CoordinatorClient, { code, details }: UlyssesError): void {
    // Another call has turned already.
    if (used !== this.#current || code !== 'PEER_LOST') return;
    const leader = details['leader'];
    if (typeof leader === 'string') this.#current = this.#connect(leader);
    // It does not lead and knows nobody who does, or it cannot be reached.
    else if (details['field'] === 'leader' || details['grpcStatus'] !== undefined) {
      const next = (this.#addresses.indexOf(used.address) + 1) % this.#addresses.length;
      this.#current = this.#connect(this.#addresses[next] ?? used.address);
    }
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  #connect(address: string): CoordinatorClient {
    const existing = this.#clients.get(address);
    if (existing !== undefined) return existing;
    const client = connectCoordinator(address, this.#options);
    this.#clients.set(address, client);
    return client;
  }
}
