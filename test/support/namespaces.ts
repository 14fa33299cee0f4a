import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import type { Container } from './deployment.js';

/** Where `ip netns exec` looks for a namespace's own files of /etc. */
const HOSTS = '/etc/netns';

const ip = (...args: readonly string[]): string =>
  execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Why there can be no network namespaces here; null when there can. */
export function whyNoNamespaces(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  for (const program of ['ip', 'unshare', 'setpriv']) {
    if (spawnSync(program, ['--version']).error !== undefined) return `${program} is not installed`;
  }
  const probe = spawnSync('unshare', ['--net', '--mount', 'true'], { encoding: 'utf8' });
  return probe.status === 0 ? null : `no namespaces: ${probe.stderr.trim()}`;
}

/**
 * Hosts on a network of their own: a namespace each, joined by a bridge, that know each other by name. Names and addresses are
 * of this process, and what is removed is what was made here.
 */
export class Namespaces {
  readonly #bridge = `ul${process.pid.toString(36)}`;
  readonly #names = new Map<string, string>();
  readonly #addresses = new Map<string, string>();
  /** Whether the folder of all `hosts` files was made here. */
  #madeParent = false;
  readonly #children = new Set<ChildProcess>();
  readonly #onExit = (): void => {
    this.#removeAll();
  };

  /** `aliases` are further names of hosts. */
  constructor(hosts: readonly string[], aliases: Readonly<Record<string, string>> = {}) {
    process.once('exit', this.#onExit);
    const subnet = `198.18.${process.pid % 256}`;
    ip('link', 'add', this.#bridge, 'type', 'bridge');
    ip('link', 'set', this.#bridge, 'up');
    hosts.forEach((host, index) => this.#addresses.set(host, `${subnet}.${index + 1}`));
    for (const [alias, host] of Object.entries(aliases)) this.#addresses.set(alias, this.addressOf(host));
    const lines = [
      '127.0.0.1 localhost',
      ...[...this.#addresses].map(([name, address]) => `${address} ${name}`),
    ];
    hosts.forEach((host, index) => {
      const name = `ulysses-${process.pid}-${host}`;
      // `ip netns exec` shows this file as /etc/hosts.
      if (mkdirSync(`${HOSTS}/${name}`, { recursive: true }) === HOSTS) this.#madeParent = true;
      this.#names.set(host, name);
      writeFileSync(`${HOSTS}/${name}/hosts`, `${lines.join('\n')}\n`);
      ip('netns', 'add', name);
      const outside = `${this.#bridge}h${index}`;
      ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
      ip('link', 'set', outside, 'master', this.#bridge, 'up');
      ip('-n', name, 'address', 'add', `${this.addressOf(host)}/24`, 'dev', 'eth0');
      ip('-n', name, 'link', 'set', 'eth0', 'up');
      ip('-n', name, 'link', 'set', 'lo', 'up');
    });
  }

  addressOf(host: string): string {
    const address = this.#addresses.get(host);
    if (address === undefined) throw new Error(`there is no host ${host}`);
    return address;
  }

  /** The command that runs another one on a host. */
  on(host: string): string[] {
    return ['ip', 'netns', 'exec', this.#nameOf(host)];
  }

  /** Starts a container's command as its user, without capabilities, on a file system that cannot be written. */
  start(host: string, container: Container, argv = container.argv): ChildProcess {
    const { folder, environment, user, tmpfs } = container;
    const [uid = '', gid = uid] = user.split(':');
    const mounts = tmpfs.map((place) => `mount -t tmpfs -o mode=1777 tmpfs ${place} && `).join('');
    const [program = '', ...args] = [
      ...this.on(host),
      ...['unshare', '--mount', 'sh', '-c', `${mounts}mount -o remount,bind,ro / && exec "$@"`, 'sh'],
      ...['setpriv', '--reuid', uid, '--regid', gid, '--clear-groups', '--no-new-privs'],
      ...['--bounding-set=-all', '--inh-caps=-all', '--pdeathsig', 'KILL'],
      ...argv,
    ];
    const child = spawn(program, args, { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Ends what still runs and removes everything that this object made. */
  async close(): Promise<void> {
    const ends = [...this.#children].map((child) => {
      child.kill('SIGKILL');
      return new Promise((resolve) => child.once('exit', resolve));
    });
    await Promise.all(ends);
    this.#removeAll();
    process.off('exit', this.#onExit);
  }

  #nameOf(host: string): string {
    const name = this.#names.get(host);
    if (name === undefined) throw new Error(`there is no host ${host}`);
    return name;
  }

  #removeAll(): void {
    for (const name of this.#names.values()) {
      // Its end of the veth pair takes the other one with it.
      spawnSync('ip', ['netns', 'delete', name]);
      rmSync(`${HOSTS}/${name}`, { recursive: true, force: true });
    }
    if (this.#madeParent && readdirSync(HOSTS).length === 0) rmdirSync(HOSTS);
    this.#madeParent = false;
    this.#names.clear();
    spawnSync('ip', ['link', 'delete', this.#bridge]);
  }
}
