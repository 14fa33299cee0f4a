import { once } from 'node:events';
import { createConnection } from 'node:net';
import { startRedis, type RedisProcess } from '../../scripts/start-redis.mjs';

/** Leaders and members renew within a third of their lease. */
const KEYS_MS = 5_000;

/** The Redis of a campaign, which is killed now and then and comes back empty at the same port. */
export class RedisUnderTest {
  #redis: RedisProcess;

  private constructor(redis: RedisProcess) {
    this.#redis = redis;
  }

  static async start(): Promise<RedisUnderTest> {
    return new RedisUnderTest(await startRedis());
  }

  get port(): number {
    return this.#redis.port;
  }

  get pid(): number {
    return this.#redis.pid;
  }

  /** For one that was killed, or is now. */
  async restart(): Promise<void> {
    await this.#redis.stop();
    this.#redis = await startRedis({ port: this.port });
  }

  /** A cluster has its membership and its leader here, nothing else, and both expire. One that was emptied has them again soon. */
  async expectKeysOf(cluster: string): Promise<void> {
    const wanted = ['coordinator', 'membership'].map((name) => `ulysses:{${cluster}}:${name}`);
    const deadline = performance.now() + KEYS_MS;
    for (;;) {
      const keys = (await this.#ask('KEYS *')).filter((key) => key.includes(cluster));
      if (keys.sort().join() === wanted.join()) break;
      if (performance.now() > deadline) throw new Error(`keys of ${cluster}: ${keys.join()}`);
    }
    for (const key of wanted) {
      const [answer = ''] = await this.#ask(`PTTL ${key}`);
      if (!(Number(answer.slice(1)) > 0)) throw new Error(`${key} never expires: ${answer}`);
    }
  }

  async stop(): Promise<void> {
    await this.#redis.stop();
  }

  /** One inline command; the lines of its answer, without lengths. */
  async #ask(command: string): Promise<string[]> {
    const socket = createConnection(this.port, '127.0.0.1');
    socket.write(`${command}\r\nQUIT\r\n`);
    let answer = '';
    socket.on('data', (bytes: Buffer) => (answer += bytes.toString()));
    await once(socket, 'close');
    return answer.split('\r\n').filter((line) => line !== '' && !/^[*$+]/.test(line));
  }
}
