import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { ExchangePlane } from '@ulysses/exchange';
import type { RankAddress } from '@ulysses/rpc';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RankLinks } from './rank-links.js';

const open = async (listen: string | null): Promise<ExchangePlane> => {
  const plane = await ExchangePlane.open({ listen, transport: 'tcp', onLinkLost: () => undefined });
  planes.push(plane);
  return plane;
};
const planes: ExchangePlane[] = [];
let own: ExchangePlane;
/** Rank 0 is there, rank 1 is not. */
let ranks: readonly RankAddress[];

beforeEach(async () => {
  own = await open(null);
  const there = await open('127.0.0.1:0');
  const port = createServer().listen(0, '127.0.0.1');
  await once(port, 'listening');
  const gone = `127.0.0.1:${(port.address() as AddressInfo).port}`;
  port.close();
  await once(port, 'close');
  ranks = [there.address!, gone].map((tensorAddress, rank) => ({
    rank,
    member: `member-${rank}`,
    controlAddress: 'unused:1',
    tensorAddress,
  }));
});
afterEach(async () => {
  await Promise.all(planes.splice(0).map((plane) => plane.close()));
});

describe('a rank that cannot be reached is named', () => {
  it.each(['direct', 'auto', 'relay'] as const)('with route %s', async (route) => {
    // With route relay owner 1 has rank 1 as its relay.
    const links = new RankLinks({ plane: own, route, ownerIndex: 1, job: 'job', session: 'session' });
    await expect(links.open(ranks, route !== 'relay', 5_000)).rejects.toMatchObject({
      code: 'PEER_LOST',
      details: {
        field: 'tensor_address',
        value: ranks[1]!.tensorAddress,
        expected: 'an address at which the rank answers in time',
        peer: 'rank 1',
        member: 'member-1',
      },
    });
  });
});

describe('a rank beyond loopback is not dialled in plaintext', () => {
  it.each(['direct', 'relay'] as const)('with route %s', async (route) => {
    const links = new RankLinks({ plane: own, route, ownerIndex: 0, job: 'job', session: 'session' });
    const beyond = ranks.map((rank) => ({ ...rank, tensorAddress: '10.0.0.1:7102' }));
    await expect(links.open(beyond, route === 'direct', 5_000)).rejects.toMatchObject({
      code: 'CONFIG',
      details: {
        field: 'tensor_address',
        value: '10.0.0.1:7102',
        expected: 'a loopback address, TLS, or insecure',
        peer: 'rank 0',
      },
    });
  });
});
