import { Region, type SegmentPlace, type StepKey } from '@ulysses/native';
import { afterEach, describe, expect, it } from 'vitest';
import { ExchangePlane } from './exchange-plane.js';
import { ownerLinkName, ownerParty, rankLinkName, rankParty } from './party.js';

const SLICES = 24;
const ROW_BYTES = 8;

const opened: ExchangePlane[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((plane) => plane.close()));
});

async function open(listen: string | null, sliceOrderSeed: number | null): Promise<ExchangePlane> {
  const plane = await ExchangePlane.open({ listen, onLinkLost: () => undefined, sliceOrderSeed });
  opened.push(plane);
  return plane;
}

/** One row per slice, each a granule of its own, so that the order in which slices are placed shows. */
function rows(): { readonly region: Region; readonly places: readonly SegmentPlace[] } {
  const region = Region.allocate(SLICES * ROW_BYTES);
  const places = Array.from({ length: SLICES }, (_, granule) => ({
    region,
    offsetBytes: granule * ROW_BYTES,
    rows: 1,
    rowBytes: ROW_BYTES,
    rowStrideBytes: ROW_BYTES,
    granule,
  }));
  return { region, places };
}

/** Sends slices 0, 1, 2, … from an owner to a rank, or the other way round; returns the order in which they were placed. */
async function arrivals(
  seed: number | null,
  pass: StepKey['pass'],
  sender: 'owner' | 'rank' = 'rank',
): Promise<number[]> {
  const key: StepKey = { job: 'job', session: 'session', call: 0, pass, attempt: 0 };
  const rank = await open('127.0.0.1:0', seed);
  const owner = await open(null, seed);
  const ownerLink = ownerLinkName(0, key.job, key.session);
  await owner.connectOwner(rankLinkName(0, 'member'), rank.address!, ownerLink, { deadlineMs: 10_000 });
  const ends = {
    rank: { plane: rank, self: rankParty(0), link: ownerLink },
    owner: { plane: owner, self: ownerParty(0), link: rankLinkName(0, 'member') },
  };
  const [from, to] = sender === 'rank' ? [ends.rank, ends.owner] : [ends.owner, ends.rank];
  const [outgoing, incoming] = [rows(), rows()];
  outgoing.region.bytes.forEach((_, i, bytes) => (bytes[i] = i));
  const common = { key, epoch: 1, relayBytes: 0 };
  const receiving = to.plane.openStep({
    ...common,
    self: to.self,
    receives: [{ source: from.self, tensor: 'dq', segments: incoming.places }],
    routes: [{ destination: from.self, link: to.link }],
    sendBytes: 0,
  });
  const sending = from.plane.openStep({
    ...common,
    self: from.self,
    receives: [],
    routes: [{ destination: to.self, link: from.link }],
    sendBytes: SLICES * ROW_BYTES,
  });
  const order: number[] = [];
  for (let granule = 0; granule < SLICES; granule++) {
    void receiving.granule(granule).then(() => order.push(granule));
  }
  outgoing.places.forEach((place, number) => {
    const rows = { begin: 0, end: place.rows };
    sending.send([{ destination: to.self, tensor: 'dq', number, place, rows }]);
  });
  await Promise.all([sending.sent, receiving.received]);
  expect(incoming.region.bytes).toEqual(outgoing.region.bytes);
  sending.close();
  receiving.close();
  return order;
}

const PLAN_ORDER = Array.from({ length: SLICES }, (_, slice) => slice);

describe('slices of a step', () => {
  it.each(['rank', 'owner'] as const)(
    'leave a %s in the order of the plan without a seed',
    async (sender) => {
      expect(await arrivals(null, 'forward', sender)).toEqual(PLAN_ORDER);
    },
  );

  it.each(['rank', 'owner'] as const)(
    'leave a %s in another order for every seed and pass, the same one each time, and all arrive',
    async (sender) => {
      const orders = [
        await arrivals(1, 'forward', sender),
        await arrivals(2, 'backward', sender),
        await arrivals(1, 'backward', sender),
      ];
      for (const order of orders) {
        expect(order).not.toEqual(PLAN_ORDER);
        expect([...order].sort((a, b) => a - b)).toEqual(PLAN_ORDER);
      }
      expect(new Set(orders.map(String)).size).toBe(orders.length);
      expect(await arrivals(1, 'forward', sender)).toEqual(orders[0]);
    },
  );
});
