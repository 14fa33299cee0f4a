import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { kvHeadOfQHead, routeHeads } from './head-routing.js';

describe('heads of a core attention', () => {
  it('every query head is at one owner, with the KV head it reads and no KV head that nobody there reads', () => {
    const heads = fc.record({
      kvHeads: fc.integer({ min: 1, max: 9 }),
      group: fc.integer({ min: 1, max: 9 }),
      owners: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(heads, ({ kvHeads, group, owners }) => {
        const routing = routeHeads(kvHeads * group, kvHeads, owners);
        const computed: number[] = [];
        routing.qHeads.forEach((qHeads, owner) => {
          const own = routing.kvHeads[owner]!;
          const read = kvHeadOfQHead(qHeads, own, group).map((local, head) => {
            computed.push(qHeads.begin + head);
            expect(own.begin + local).toBe(Math.floor((qHeads.begin + head) / group));
            return local;
          });
          expect([...new Set(read)]).toEqual([...Array(own.end - own.begin).keys()]);
        });
        expect(computed).toEqual([...Array(kvHeads * group).keys()]);
      }),
    );
  });

  it('6 heads in 2 groups on 4 owners: the second reads the last head of one group and the first of the other', () => {
    const { qHeads, kvHeads } = routeHeads(6, 2, 4);
    expect(qHeads[1]).toEqual({ begin: 2, end: 4 });
    expect(kvHeads[1]).toEqual({ begin: 0, end: 2 });
    expect(kvHeadOfQHead(qHeads[1]!, kvHeads[1]!, 3)).toEqual([0, 1]);
  });
});
