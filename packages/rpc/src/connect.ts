import type { ConnectionOptions } from '@ulysses/runtime';
import { Channel } from './channel.js';
import { bidiCall, serverStreamCall, unaryCall } from './make-call.js';
import {
  coordinatorMethods,
  rankMethods,
  rendezvousMethods,
  type CoordinatorCalls,
  type RankCalls,
  type RendezvousCalls,
} from './services.js';

/**
 * One connection to one control port. It is made on the first call, and made again by the next call after it was lost.
 * A refused connection, an unknown host and 5 s without an answer are PEER_LOST; certificates that either end
 * does not accept, TLS at one end only, are UNAUTHENTICATED.
 */
export interface Connection {
  /** `host:port` that was asked for. */
  readonly address: string;
  /** Ends running calls with CANCELLED. */
  close(): void;
}

export interface CoordinatorClient extends CoordinatorCalls, Connection {}
export interface RankClient extends RankCalls, Connection {}
export interface RendezvousClient extends RendezvousCalls, Connection {}

/**
 * `address` is `host:port`; anything else throws CONFIG, and so do `tls` files that cannot be used, and an address beyond loopback
 * without `tls` or `insecure`. Nothing is sent yet.
 */
export function connectCoordinator(address: string, options: ConnectionOptions = {}): CoordinatorClient {
  const channel = new Channel(address, options);
  return {
    planStep: serverStreamCall(channel, coordinatorMethods.planStep),
    settleStep: unaryCall(channel, coordinatorMethods.settleStep),
    release: unaryCall(channel, coordinatorMethods.release),
    watchMembership: serverStreamCall(channel, coordinatorMethods.watchMembership),
    getStatus: unaryCall(channel, coordinatorMethods.getStatus),
    scale: unaryCall(channel, coordinatorMethods.scale),
    drain: unaryCall(channel, coordinatorMethods.drain),
    ...connection(channel),
  };
}

/** As `connectCoordinator`, for the control port of a rank. */
export function connectRank(address: string, options: ConnectionOptions = {}): RankClient {
  const channel = new Channel(address, options);
  return {
    steps: bidiCall(channel, rankMethods.steps),
    getRankStatus: unaryCall(channel, rankMethods.getRankStatus),
    ...connection(channel),
  };
}

/** As `connectCoordinator`, for the embedded rendezvous, which the coordinator's port serves. */
export function connectRendezvous(address: string, options: ConnectionOptions = {}): RendezvousClient {
  const channel = new Channel(address, options);
  return {
    join: unaryCall(channel, rendezvousMethods.join),
    renew: unaryCall(channel, rendezvousMethods.renew),
    leave: unaryCall(channel, rendezvousMethods.leave),
    revoke: unaryCall(channel, rendezvousMethods.revoke),
    ...connection(channel),
  };
}

function connection(channel: Channel): Connection {
  return {
    address: channel.address,
    close: () => {
      channel.close();
    },
  };
}
