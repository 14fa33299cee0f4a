import { afterAll, beforeAll, describe, it } from 'vitest';
import { UlyssesError } from '@ulysses/errors';
import { coordinatorService, rendezvousService, serve } from '@ulysses/rpc';
import { EmbeddedStore } from './embedded-store.js';
import { ManualClock } from './manual-clock.js';
import { startRedis, type RedisProcess } from '../../../scripts/start-redis.mjs';
import { redisFactory } from './redis/store-in-redis.js';
import { RemoteStore } from './remote-store.js';
import { RENDEZVOUS_CONTRACT, checkContract, type StoreFactory } from './rendezvous-contract.js';
import { rendezvousHandlers, watchMembershipHandler } from './serve-store.js';

const embedded: StoreFactory = async ({ cpSize, leaseMs }) => {
  const clock = new ManualClock();
  const store = new EmbeddedStore({ cpSize, leaseMs, clock });
  return {
    store,
    other: store,
    resolutionMs: 1,
    advance: (ms) => {
      clock.advance(ms);
    },
    setCpSize: (size) => store.setCpSize(size),
    close: () => {
      store.close();
    },
  };
};

/** The same store behind a real server, as ranks see it. */
const remote: StoreFactory = async ({ cpSize, leaseMs }) => {
  const clock = new ManualClock();
  const kept = new EmbeddedStore({ cpSize, leaseMs, clock });
  const unused = (): never => {
    throw new UlyssesError('UNSUPPORTED', 'this test serves the rendezvous only');
  };
  const server = await serve({
    listen: '127.0.0.1:0',
    services: [
      rendezvousService(rendezvousHandlers(kept)),
      coordinatorService({
        planStep: unused,
        settleStep: unused,
        release: unused,
        getStatus: unused,
        scale: unused,
        drain: unused,
        watchMembership: watchMembershipHandler(kept),
      }),
    ],
  });
  const stores = [new RemoteStore(server.address), new RemoteStore(server.address)] as const;
  return {
    store: stores[0],
    other: stores[1],
    resolutionMs: 1,
    advance: (ms) => {
      clock.advance(ms);
    },
    setCpSize: (size) => kept.setCpSize(size),
    close: async () => {
      for (const store of stores) store.close();
      await server.close(0);
      kept.close();
    },
  };
};

let server: RedisProcess;
beforeAll(async () => {
  server = await startRedis();
}, 60_000);
afterAll(() => server.stop());

const redis: StoreFactory = (options) => redisFactory(`redis://127.0.0.1:${server.port}`)(options);

const ADAPTERS: Readonly<Record<string, StoreFactory>> = { embedded, remote, redis };

describe.each(Object.entries(ADAPTERS))('%s store', (_name, create) => {
  it.each(RENDEZVOUS_CONTRACT.map((each) => [each.title, each] as const))('%s', async (_title, each) => {
    await checkContract(each, create);
  });
});
