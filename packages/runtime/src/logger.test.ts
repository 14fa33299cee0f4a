import { describe, expect, it } from 'vitest';
import { createLogger, type LogLevel } from './logger.js';

function logTo(lines: string[], level: LogLevel = 'info', pretty = false) {
  return createLogger({
    name: 'rank',
    level,
    pretty,
    destination: {
      write: (line) => {
        lines.push(line);
      },
    },
  });
}

describe('a logger', () => {
  it('writes one JSON line with the phrase, the fields and those of its parent', () => {
    const lines: string[] = [];
    logTo(lines).child({ member: 'm1' }).info({ epoch: 4, ms: 2.5 }, 'epoch entered');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({
      level: 'info',
      name: 'rank',
      member: 'm1',
      epoch: 4,
      ms: 2.5,
      msg: 'epoch entered',
    });
  });

  it('writes nothing below its level', () => {
    const lines: string[] = [];
    logTo(lines, 'warn').info({}, 'epoch entered');
    logTo(lines, 'silent').error({}, 'step failed');
    expect(lines).toEqual([]);
  });

  it('never writes a payload: bytes are counted and long text is cut', () => {
    const lines: string[] = [];
    logTo(lines).warn({ rows: new Float32Array(1000), reason: 'x'.repeat(1000) }, 'step failed');
    const { rows, reason } = JSON.parse(lines[0]!) as { rows: string; reason: string };
    expect(rows).toBe('4000 bytes');
    expect(reason).toHaveLength(201);
  });

  it('writes a short readable line when asked to', () => {
    const lines: string[] = [];
    logTo(lines, 'debug', true).debug({ rank: 2, peer: 'rank 1' }, 'peer lost');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} debug rank\[\d+\] peer lost rank=2 peer=rank 1\n$/);
  });
});
