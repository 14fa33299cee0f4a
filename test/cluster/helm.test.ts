import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTestCertificates } from '../../scripts/test-certificates.mjs';
import { Deployed, expectStep } from '../support/deployed.js';
import { Images, type Container } from '../support/deployment.js';
import {
  containerOf,
  helm,
  podsOf,
  render,
  settingsOf,
  type PodSpec,
  type Rendered,
} from '../support/helm.js';
import { Namespaces, whyNoNamespaces } from '../support/namespaces.js';

const TRAINER = 'trainer';
const READY_MS = 60_000;
const TLS = ['tls.secret=ulysses-tls', 'tls.name=ulysses.internal'];
const TLS_MOUNT = '/etc/ulysses/tls';

const noHelm = helm === null ? 'helm is not installed: node scripts/find-helm.mjs --install' : null;
const because = (reason: string | null): string => (reason === null ? '' : ` (not run: ${reason})`);

describe.skipIf(noHelm !== null)(`the chart${because(noHelm)}`, () => {
  it('has a pod per rank, two coordinators and Redis, none of which a restricted namespace refuses', () => {
    const pods = podsOf(render(['insecure=true']));
    const counts = pods.map(({ manifest, count }) => `${manifest.kind} ${manifest.metadata.name} ${count}`);
    expect(counts.sort()).toEqual([
      'Deployment ulysses-coordinator 2',
      'Deployment ulysses-rank 4',
      'Deployment ulysses-redis 1',
      'Job ulysses-scale 1',
    ]);
    for (const { pod } of pods) {
      expect(pod.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(pod.containers[0].securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
  });

  it('changes its size without a change to what restarts coordinators or ranks', () => {
    const [four, six] = [4, 6].map((size) =>
      podsOf(render(['insecure=true', `contextParallelSize=${size}`])).filter(
        ({ manifest }) => manifest.kind === 'Deployment',
      ),
    );
    const templates = (pods: typeof four): unknown[] => pods!.map(({ manifest }) => manifest.spec?.template);
    expect(templates(six)).toEqual(templates(four));
    expect(six!.map(({ count }) => count)).not.toEqual(four!.map(({ count }) => count));
  });

  it.each([
    [[], 'tls.secret is empty, expected a Secret'],
    [['insecure=true', 'redis.bundled=false'], 'redis.url is empty, expected a URL or redis.urlSecret.name'],
    [['insecure=true', 'redis.url=http://redis'], '/redis/url'],
    [['insecure=true', 'contextParallelSize=0'], '/contextParallelSize'],
    [['insecure=true', 'contextParallelSize=four'], '/contextParallelSize'],
    [['insecure=true', 'rank.thread=2'], 'thread'],
    [['insecure=true', 'rank.storeBytes=4Gi'], '/rank/storeBytes'],
    [['insecure=true', 'rank.threads=2000'], '/rank/threads'],
    [['insecure=true', 'rank.settings.ULYSSES_THREADS=2'], 'ULYSSES_THREADS'],
    [['insecure=true', 'rank.settings.ULYSSES_SILENTPEER=9s'], 'ULYSSES_SILENTPEER'],
    [['insecure=true', 'tls.secret=ulysses-tls'], 'insecure is true, expected false'],
    [['insecure=true', 'redis.url=redis://a', 'redis.urlSecret.name=b'], 'redis.url is given, expected none'],
    [['insecure=true', 'coordinator.settings.lease=2s'], 'lease'],
  ])('refuses %j by name', (values, problem) => {
    expect(render(values).problem).toContain(problem);
  });

  function helpOf(part: string): string {
    const program = fileURLToPath(new URL(`../../services/${part}/dist/main.js`, import.meta.url));
    return execFileSync(process.execPath, [program, '--help'], { encoding: 'utf8' });
  }

  it.each(['coordinator', 'rank'] as const)(
    'a %s takes as settings whatever nothing else stands for',
    (part) => {
      // Of a Deployment, which replaces whoever is lost and has a name for each pod.
      const decided = ['ULYSSES_ON_LOSS', 'ULYSSES_MIN_RANKS', 'ULYSSES_MEMBER', 'ULYSSES_LISTEN'];
      const help = helpOf(part);
      const names = new Set(help.match(/ULYSSES_[A-Z_]+(?=;|\])/g));
      for (const { pod } of podsOf(render(TLS)))
        for (const { name } of pod.containers[0].env ?? []) names.delete(name);
      for (const name of [...decided, 'ULYSSES_TENSOR_LISTEN', 'ULYSSES_METRICS', 'ULYSSES_INSECURE'])
        names.delete(name);
      expect(settingsOf(part)).toEqual([...names].sort());
    },
  );

  it('takes Redis from elsewhere, its password from a Secret', () => {
    const rendered = render(['insecure=true', 'redis.urlSecret.name=redis', 'redis.urlSecret.key=uri']);
    expect(rendered.manifests.filter(({ metadata }) => metadata.name.endsWith('redis'))).toEqual([]);
    const secretKeyRef = { name: 'redis', key: 'uri' };
    for (const { pod } of podsOf(rendered)) {
      expect(pod.containers[0].env).toContainEqual({
        name: 'ULYSSES_RENDEZVOUS',
        valueFrom: { secretKeyRef },
      });
    }
  });
});

const reason = noHelm ?? whyNoNamespaces();

describe.skipIf(reason !== null)(
  `its pods with mutual TLS, as processes in network namespaces${because(reason)}`,
  () => {
    const values = [...TLS, 'contextParallelSize=3', 'rank.threads=1'];
    const ranks = ['rank-0', 'rank-1', 'rank-2'];
    const hosts = ['redis-0', 'coordinator-0', 'coordinator-1', ...ranks];
    let rendered: Rendered;
    let network: Namespaces;
    let images: Images;
    let secret: string;
    let deployed: Deployed;

    beforeAll(async () => {
      rendered = render(values);
      images = new Images();
      const aliases = { 'ulysses-redis': 'redis-0', 'ulysses-coordinator': 'coordinator-0' };
      network = new Namespaces([...hosts, TRAINER], aliases);
      deployed = new Deployed(network);
      secret = await tlsSecret();
    });
    afterAll(async () => {
      await network.close();
      images.remove();
      rmSync(secret, { recursive: true, force: true });
    });

    /** A Secret as cert-manager writes it, mounted. */
    async function tlsSecret(): Promise<string> {
      const folder = mkdtempSync('/var/tmp/ulysses-secret-');
      await writeTestCertificates(folder);
      const holder = join(folder, 'elsewhere');
      for (const [from, to] of Object.entries({ cert: 'tls.crt', key: 'tls.key', ca: 'ca.crt' })) {
        renameSync(join(holder, `${from}.pem`), join(holder, to));
        chmodSync(join(holder, to), 0o644);
      }
      for (const each of [folder, holder]) chmodSync(each, 0o755);
      return folder;
    }

    function podOf(name: string, of: Rendered): PodSpec {
      return podsOf(of).find(({ manifest }) => manifest.metadata.name === `ulysses-${name}`)!.pod;
    }

    function containerOn(host: string, component: string, of = rendered): Container {
      const mounted = { [TLS_MOUNT]: join(secret, 'elsewhere') };
      return images.container(containerOf(podOf(component, of), of, network.addressOf(host), mounted));
    }

    async function readyRanks(count: number): Promise<void> {
      const deadline = performance.now() + READY_MS;
      for (;;) {
        const ready = await Promise.all(ranks.map((host) => deployed.isReady(host)));
        if (ready.filter(Boolean).length === count) return;
        for (const host of hosts) deployed.requireRunning(host);
        const said = ranks.map((host) => `${host}: ${deployed.said(host)}`).join('\n');
        if (performance.now() > deadline) throw new Error(`${ready.join()} are ready\n${said}`);
        await sleep(200);
      }
    }

    async function expectTrained(session: string): Promise<void> {
      const mount = join(secret, 'elsewhere');
      const files = {
        cert: join(mount, 'tls.crt'),
        key: join(mount, 'tls.key'),
        ca: join(mount, 'ca.crt'),
      };
      const tls = { ...files, serverName: 'ulysses.internal' };
      await expectStep(network.on(TRAINER), { address: 'ulysses-coordinator:7100', tls, session });
    }

    it('become ready by their own probes, in whatever order they start', async () => {
      for (const host of hosts.toReversed()) {
        deployed.start(host, containerOn(host, host.split('-')[0]!));
      }
      await readyRanks(3);
      for (const host of hosts) expect(await deployed.isReady(host), host).toBe(true);
    });

    it('serve a trainer in another pod: its step is that of the reference', async () => {
      await expectTrained('helm');
    });

    it('are resized by an upgrade: its job takes a seat from one rank, whose pod is not ready any more', async () => {
      const smaller = render([...values, 'contextParallelSize=2'], '--is-upgrade');
      const { code, output } = await deployed.run(TRAINER, containerOn(TRAINER, 'scale', smaller));
      expect(output).toContain('the cluster has 2 ranks');
      expect(code).toBe(0);
      await readyRanks(2);
      await expectTrained('helm-smaller');
    });

    it('end in order when they are told to', async () => {
      await deployed.expectOrderlyEnd(hosts.toReversed());
    });
  },
);
