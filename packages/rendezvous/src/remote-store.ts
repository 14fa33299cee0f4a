import {
  connectCoordinator,
  connectRendezvous,
  type CallOptions,
  type CoordinatorClient,
  type JoinRequest,
  type Lease,
  type Membership,
  type RendezvousClient,
  type RenewRequest,
  type Renewed,
} from '@ulysses/rpc';
import type { ConnectionOptions } from '@ulysses/runtime';
import type { MembershipStore } from './membership-store.js';

/** The store that a coordinator keeps, from another process. What cannot be reached is PEER_LOST. */
export class RemoteStore implements MembershipStore {
  readonly #rendezvous: RendezvousClient;
  readonly #coordinator: CoordinatorClient;

  /** `address` is the coordinator's control port, `host:port`. */
  constructor(address: string, options: ConnectionOptions = {}) {
    this.#rendezvous = connectRendezvous(address, options);
    this.#coordinator = connectCoordinator(address, options);
  }

  join(request: JoinRequest, options?: CallOptions): Promise<Lease> {
    return this.#rendezvous.join(request, options);
  }

  renew(request: RenewRequest, options?: CallOptions): Promise<Renewed> {
    return this.#rendezvous.renew(request, options);
  }

  async leave(member: string, options?: CallOptions): Promise<void> {
    await this.#rendezvous.leave({ member }, options);
  }

  async revoke(member: string, options?: CallOptions): Promise<void> {
    await this.#rendezvous.revoke({ member }, options);
  }

  watch(signal: AbortSignal): AsyncIterable<Membership> {
    return this.#coordinator.watchMembership({}, { signal });
  }

  close(): void {
    this.#rendezvous.close();
    this.#coordinator.close();
  }
}
