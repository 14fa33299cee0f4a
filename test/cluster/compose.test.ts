import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Deployed, expectStep } from '../support/deployed.js';
import { Images, readCompose, readFinalStage, type Container } from '../support/deployment.js';
import { Namespaces, whyNoNamespaces } from '../support/namespaces.js';

const TRAINER = 'trainer';
const READY_MS = 60_000;

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
    let deployed: Deployed;
    const containers = new Map<string, Container>();

    beforeAll(() => {
      images = new Images();
      for (const name of names) containers.set(name, images.composed(services[name]!));
      network = new Namespaces([...names, TRAINER]);
      deployed = new Deployed(network);
    });
    afterAll(async () => {
      await network.close();
      images.remove();
    });

    /** Waits until the probe says yes. */
    async function healthy(name: string): Promise<void> {
      const deadline = performance.now() + READY_MS;
      while (!(await deployed.isReady(name))) {
        deployed.requireRunning(name);
        if (performance.now() > deadline) throw new Error(`${name} is not healthy\n${deployed.said(name)}`);
      }
    }

    it('become healthy by their own probes, once what they depend on is', async () => {
      const order = [...names].sort((a, b) => {
        return containers.get(a)!.dependsOn.length - containers.get(b)!.dependsOn.length;
      });
      for (const name of order) {
        for (const needed of containers.get(name)!.dependsOn) await healthy(needed);
        deployed.start(name, containers.get(name)!);
      }
      for (const name of names) await healthy(name);
      for (const name of names) {
        const { liveness } = containers.get(name)!;
        if (liveness !== null) expect(await deployed.inside(name, liveness)).toMatchObject({ code: 0 });
      }
    });

    it('serve a trainer on another host: its step is that of the reference', async () => {
      const where = { address: 'coordinator:7100', insecure: true, session: 'compose' };
      await expectStep(network.on(TRAINER), where);
    });

    it('cannot write to their root file system', async () => {
      for (const name of names) {
        const { code, output } = await deployed.inside(name, ['touch', '/written']);
        expect(code).not.toBe(0);
        expect(output).toContain('Read-only file system');
      }
    });

    it('end in order when they are told to', async () => {
      await deployed.expectOrderlyEnd(names.toReversed());
    });
  },
);
