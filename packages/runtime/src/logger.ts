import { pino, destination, stdTimeFunctions, type DestinationStream } from 'pino';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Names from one list: member, rank, epoch, step, phase, peer, rows, bytes, ms, code, reason, address. */
export type LogFields = Readonly<Record<string, unknown>>;

/** JSON lines. The phrase is constant and lower case; whatever varies is a field. */
export interface Logger {
  debug(fields: LogFields, phrase: string): void;
  info(fields: LogFields, phrase: string): void;
  warn(fields: LogFields, phrase: string): void;
  error(fields: LogFields, phrase: string): void;
  /** The same log with fields that every line carries. */
  child(fields: LogFields): Logger;
}

export interface LoggerOptions {
  /** Which process writes: `coordinator`, `rank`, `up`. */
  readonly name: string;
  readonly level: LogLevel;
  /** One short readable line instead of JSON; default false. */
  readonly pretty?: boolean;
  /** Where lines go; default: stderr, synchronously, so that the last line before an exit is not lost. */
  readonly destination?: DestinationStream;
}

const LONGEST_VALUE = 200;

export function createLogger({ name, level, pretty = false, destination: sink }: LoggerOptions): Logger {
  const lines = sink ?? destination({ fd: 2, sync: true });
  return pino(
    {
      level,
      base: { name, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) =>
          Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, short(value)])),
      },
    },
    pretty ? readableLines(lines) : lines,
  );
}

/** Payloads never reach the log: long text is cut, bytes are counted. */
function short(value: unknown): unknown {
  if (typeof value === 'string')
    return value.length > LONGEST_VALUE ? `${value.slice(0, LONGEST_VALUE)}…` : value;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (value instanceof Error) return short(value.message);
  return value;
}

function readableLines(sink: DestinationStream): DestinationStream {
  return {
    write: (line) => {
      sink.write(readable(line));
    },
  };
}

function readable(line: string): string {
  const { time, level, name, pid, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const values = Object.entries(fields).map(([key, value]) => `${key}=${asText(value)}`);
  const head = [
    asText(time).slice(11, 23),
    asText(level).padEnd(5),
    `${asText(name)}[${asText(pid)}]`,
    asText(msg),
  ];
  return `${[...head, ...values].join(' ')}\n`;
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
