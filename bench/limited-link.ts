import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What Linux counts CPU time in, for programs. */
const TICKS_PER_SECOND = 100;
/** Jumbo frames: headers are below a hundredth of what travels. */
const MTU = 9000;

const run = (program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/**
 * A network namespace for a cluster and a full-duplex link to it, of a rate that can be changed: the kernel's token bucket at
 * both ends. Takes root on Linux. Names and addresses are of this process, and all of it goes with it.
 */
export class LimitedLink {
  /** Where the cluster listens. */
  readonly host = `198.19.${process.pid % 256}.2`;
  readonly #name = `ulysses-bench-${process.pid}`;
  readonly #device = `ulb${process.pid.toString(36)}`;
  #limited = false;

  constructor() {
    process.once('exit', () => {
      this.close();
    });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
    run('ip', 'netns', 'add', this.#name);
    const inside = ['-n', this.#name];
    const pair = [
      'mtu',
      `${MTU}`,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'mtu',
      `${MTU}`,
      'netns',
      this.#name,
    ];
    run('ip', 'link', 'add', this.#device, ...pair);
    run('ip', 'address', 'add', this.host.replace(/2$/, '1/24'), 'dev', this.#device);
    run('ip', 'link', 'set', this.#device, 'up');
    run('ip', ...inside, 'address', 'add', `${this.host}/24`, 'dev', 'eth0');
    run('ip', ...inside, 'link', 'set', 'eth0', 'up');
    run('ip', ...inside, 'link', 'set', 'lo', 'up');
  }

  /** The command that runs another one where the cluster is. */
  get inside(): readonly string[] {
    return ['ip', 'netns', 'exec', this.#name];
  }

  /** The most that passes in each direction; null: whatever the machine can do. */
  limit(bytesPerSecond: number | null): void {
    for (const end of [['-n', this.#name, 'qdisc'], ['qdisc']]) {
      const device = ['dev', end.length > 1 ? 'eth0' : this.#device, 'root'];
      if (bytesPerSecond === null) {
        if (this.#limited) run('tc', ...end, 'delete', ...device);
        continue;
      }
      const rate = `${Math.round(bytesPerSecond * 8)}bit`;
      run('tc', ...end, 'replace', ...device, 'tbf', 'rate', rate, 'burst', '128kb', 'limit', '1mb');
    }
    this.#limited = bytesPerSecond !== null;
  }

  /**
   * CPU time that this machine has spent in interrupts so far, which is no process's: there packets leave the bucket, when its timer
   * fires, and are received.
   */
  static interruptSeconds(): number {
    const [cpu] = readFileSync('/proc/stat', 'utf8').split('\n');
    const [irq, softirq] = cpu!.split(/\s+/).slice(6, 8).map(Number);
    return (irq! + softirq!) / TICKS_PER_SECOND;
  }

  /** Takes the link with it. */
  close(): void {
    try {
      run('ip', 'netns', 'delete', this.#name);
    } catch {
      // It is gone already.
    }
  }
}
