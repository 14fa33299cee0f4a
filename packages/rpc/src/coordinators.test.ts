import { UlyssesError } from '@ulysses/errors';
import { afterEach, describe, expect, it } from 'vitest';
import { Coordinators } from './coordinators.js';

const opened: Coordinators[] = [];
afterEach(() => {
  for (const coordinators of opened.splice(0)) coordinators.close();
});

function of(addresses: string): Coordinators {
  const coordinators = new Coordinators(addresses, { insecure: true });
  opened.push(coordinators);
  return coordinators;
}

const unreachable = new UlyssesError('PEER_LOST', 'gone', { grpcStatus: 14 });
const standby = (leader: string) => new UlyssesError('PEER_LOST', 'does not lead', { leader });
const leaderless = new UlyssesError('PEER_LOST', 'nobody leads', { field: 'leader' });

describe('Coordinators', () => {
  it('turns to the next one when one cannot be reached or knows no leader, and from the last to the first', () => {
    const coordinators = of('a:1, b:2');
    coordinators.failOver(coordinators.current, unreachable);
    expect(coordinators.current.address).toBe('b:2');
    coordinators.failOver(coordinators.current, leaderless);
    expect(coordinators.current.address).toBe('a:1');
  });

  it('follows a standby to the leader, also to one that it was not told of', () => {
    const coordinators = of('a:1,b:2');
    coordinators.failOver(coordinators.current, standby('c:3'));
    expect(coordinators.current.address).toBe('c:3');
    coordinators.failOver(coordinators.current, unreachable);
    expect(coordinators.current.address).toBe('a:1');
  });

  it('turns once when several calls fail on the same coordinator', () => {
    const coordinators = of('a:1,b:2');
    const used = coordinators.current;
    coordinators.failOver(used, unreachable);
    coordinators.failOver(used, unreachable);
    expect(coordinators.current.address).toBe('b:2');
  });

  it('stays when a rank was lost: that says nothing of the coordinator', () => {
    const coordinators = of('a:1,b:2');
    coordinators.failOver(coordinators.current, new UlyssesError('PEER_LOST', 'rank 1', { peer: 'rank 1' }));
    expect(coordinators.current.address).toBe('a:1');
  });

  it('does not follow a leader that may not be dialled in plaintext', () => {
    const coordinators = new Coordinators('127.0.0.1:1');
    opened.push(coordinators);
    expect(() => {
      coordinators.failOver(coordinators.current, standby('10.0.0.1:7100'));
    }).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    expect(coordinators.current.address).toBe('127.0.0.1:1');
  });

  it('refuses what is no address', () => {
    expect(() => of('a:1,,b:2')).toThrow(/expected/);
    expect(() => of('')).toThrow(/expected/);
  });
});
