// Preloaded into coordinators, ranks and trainers of fault tests: `--import`. Told over IPC, it sends a signal from a stated
// point inside a step, so that a process dies exactly there and not about then; and says what the process holds.
//
//   { fault: { point, pass, pid, signal } } arms it once; pid null is this process itself. Answered by { armed: true }.
//   { level: true } is answered by { level: … }, as `Level` has it, after a collection.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setImmediate } from 'node:timers';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ExchangePlane } from '@ulysses/exchange';
import { regionStats } from '@ulysses/native';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

let armed = null;

/** The armed fault happens if this is its point. */
function reach(point, pass) {
  if (armed === null || armed.point !== point || armed.pass !== pass) return;
  const { pid, signal } = armed;
  armed = null;
  process.send?.({ hit: true });
  process.kill(pid ?? process.pid, signal);
}

const openStep = ExchangePlane.prototype.openStep;
ExchangePlane.prototype.openStep = function (registration) {
  const channel = openStep.call(this, registration);
  const { pass } = registration.key;
  const { handle, send, close } = channel;
  channel.handle = (event) => {
    handle.call(channel, event);
    // The first rows are placed, the rest is under way.
    if (event.kind === 'granule') reach('transfer', pass);
    // Everybody has what this party sends.
    if (event.kind === 'sent') reach('sent', pass);
    // An owner has all of its results.
    if (event.kind === 'received') reach('received', pass);
  };
  channel.send = (sends) => {
    // On a rank: the first result has left, and not the others. On an owner: the first rows have.
    const first = sends.length > 1 && armed?.point === 'return' && armed.pass === pass ? 1 : 0;
    if (first > 0) send.call(channel, sends.slice(0, first));
    reach('return', pass);
    send.call(channel, sends.slice(first));
  };
  channel.close = () => {
    const moved = close.call(channel);
    reach('commit', pass);
    return moved;
  };
  reach('prepare', pass);
  return channel;
};

// The very object that @ulysses/native loaded.
const { Device } = createRequire(import.meta.resolve('@ulysses/native'))('../ulysses.node');
for (const [name, pass] of [
  ['attentionForward', 'forward'],
  ['attentionBackward', 'backward'],
]) {
  const compute = Device.prototype[name];
  Device.prototype[name] = function (...args) {
    const computing = compute.apply(this, args);
    setImmediate(() => reach('compute', pass));
    return computing;
  };
}

process.on('message', ({ fault, level }) => {
  if (fault !== undefined) {
    armed = fault;
    process.send({ armed: true });
  }
  if (level === true) {
    // What finalizers free, such as connections, the second one sees.
    collect();
    setImmediate(() => {
      collect();
      const { heapUsed, external, rss } = process.memoryUsage();
      // What processes share has a fixed size, and counts again in every one that has read of it.
      const shared = Number(
        /^RssShmem:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0,
      );
      const descriptors = readdirSync('/proc/self/fd').length;
      const { allocatedBytes, retainedBytes } = regionStats();
      process.send({
        level: {
          descriptors,
          regionBytes: allocatedBytes,
          heapBytes: heapUsed,
          externalBytes: external,
          nativeBytes: rss - shared * 1024 - getHeapStatistics().total_physical_size - retainedBytes,
          residentBytes: rss - shared * 1024,
        },
      });
    });
  }
});
