import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Images, readCompose, readFinalStage, type Container } from '../support/deployment.js';
import { largestDeviation } from '../support/error-bound.js';
import { referenceOf } from '../support/expect-attention.js';
import { Namespaces, whyNoNamespaces } from '../support/namespaces.js';
import { stepInputs } from '../support/step-inputs.js';
import { causal } from '../support/reference-mask.js';
import { runTrainers } from '../support/trainer-process.js';

const TRAINER = 'trainer';
const READY_MS = 60_000;
const SHAPE = { rows: 203, batch: 1, qHeads: 6, kvHeads: 2, headSize: 32 };

const services = readCompose();
const names = Object.keys(services);
const reason = whyNoNamespaces();

describe('compose.yaml', () => {
  it('has Redis, a coordinator and four ranks, without root, on a root file system that cannot be written', () => {
    expect(names).toEqual(['redis', 'coordinator', 'rank-0', 'rank-1', 'rank-2', 'rank-3']);
    for (const { build, user, read_only: readOnly, cap_drop: dropped } of Object.values(services)) {
      const runsAs = build === undefined ? user : readFinalStage(build.dockerfile).user;
      expect(Number(runsAs?.split(':')[0])).toBeGreaterThan(0);
      expect([readOnly, dropped]).toEqual([true, ['ALL']]);
    }
  });
});

describe.skipIf(reason !== null)(
  `the services of compose.yaml, as processes in network namespaces${reason === null ? '' : ` (not run: ${reason})`}`,
  () => {
    let network: Namespaces;
    let images: Images;
    const containers = new Map<string, Container>();
    const running = new Map<string, { child: ChildProcess; log: string[] }>();

    beforeAll(() => {
      images = new Images();
      for (const name of names) containers.set(name, images.composed(services[name]!));
      network = new Namespaces([...names, TRAINER]);
    });
    afterAll(async () => {
      await network.close();
      images.remove();
    });

    /** Exit code and output of a command in a running service, as `docker compose exec` would run it. */
    async function inside(name: string, argv: readonly string[]): Promise<{ code: number; output: string }> {
      const child = network.start(name, containers.get(name)!, argv);
      let output = '';
      for (const stream of [child.stdout!, child.stderr!])
        stream.on('data', (text) => (output += String(text)));
      const [code] = (await once(child, 'close')) as [number];
      return { code, output };
    }

    /** Waits until the probe says yes. */
    async function healthy(name: string): Promise<void> {
      const deadline = performance.now() + READY_MS;
      for (;;) {
        const { code, output } = await inside(name, containers.get(name)!.probe);
        if (code === 0) return;
        const { child, log } = running.get(name)!;
        const exited = child.exitCode !== null || child.signalCode !== null;
        if (exited || performance.now() > deadline) {
          throw new Error(`${name} is not healthy: ${output}\n${log.slice(-20).join('')}`);
        }
      }
    }

    function start(name: string): void {
      const child = network.start(name, containers.get(name)!);
      const log: string[] = [];
      for (const stream of [child.stdout!, child.stderr!])
        stream.on('data', (text) => log.push(String(text)));
      running.set(name, { child, log });
    }

    it('become healthy by their own probes, once what they depend on is', async () => {
      const order = [...names].sort((a, b) => {
        return containers.get(a)!.dependsOn.length - containers.get(b)!.dependsOn.length;
      });
      for (const name of order) {
        for (const needed of containers.get(name)!.dependsOn) await healthy(needed);
        start(name);
      }
      for (const name of names) await healthy(name);
      for (const name of names) {
        const { liveness } = containers.get(name)!;
        if (liveness !== null) expect(await inside(name, liveness)).toMatchObject({ code: 0 });
      }
    });

    it('serve a trainer on another host: its step is that of the reference', async () => {
      const call = {
        address: 'coordinator:7100',
        insecure: true,
        session: 'compose',
        ownerIndex: 0,
        ownerCount: 1,
        shape: SHAPE,
      };
      const more = { seed: 5, begin: 0, end: SHAPE.rows, lengths: [SHAPE.rows], deadlineMs: 30_000 } as const;
      const form = { dtype: 'f32', layout: 'sbhd' } as const;
      const [answer] = await runTrainers([{ ...call, ...more, form }], network.on(TRAINER));
      expect(answer?.error).toBeNull();
      const expected = referenceOf(stepInputs(SHAPE, 5), causal);
      for (const name of ['out', 'dq', 'dk', 'dv'] as const) {
        expect(largestDeviation(answer![name], expected[name]).ratio, name).toBeLessThanOrEqual(1);
      }
    });

    it('cannot write to their root file system', async () => {
      for (const name of names) {
        const { code, output } = await inside(name, ['touch', '/written']);
        expect(code).not.toBe(0);
        expect(output).toContain('Read-only file system');
      }
    });

    it('end in order when they are told to', async () => {
      for (const name of names.toReversed()) {
        const { child, log } = running.get(name)!;
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        expect(await exited, `${name}: ${log.slice(-5).join('')}`).toEqual([0, null]);
      }
    });
  },
);
