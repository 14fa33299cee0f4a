import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { findRedis } from '../../scripts/find-redis.mjs';

/** What deploy/compose/compose.yaml says of one service, as far as it is used here. */
export interface ComposeService {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck: { readonly test: readonly string[] };
  readonly user?: string;
  readonly read_only: boolean;
  readonly cap_drop: readonly string[];
  readonly tmpfs?: readonly string[];
}

/** The last stage of a Dockerfile. */
export interface FinalStage {
  readonly user: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly entrypoint: readonly string[];
  /** Services that the image holds. */
  readonly services: readonly string[];
  readonly healthcheck: readonly string[];
}

/** What a deployment says of one container, however it is written. */
export interface ContainerSpec {
  /** Null for an image that is not of this repository. */
  readonly dockerfile: string | null;
  readonly image: string;
  /** In place of the image's entrypoint. */
  readonly command?: readonly string[];
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly user: string | undefined;
  readonly tmpfs: readonly string[];
  readonly probe: readonly string[];
  readonly dependsOn: readonly string[];
}

/** A container as an engine would run it, with a folder in place of its image. */
export interface Container {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly user: string;
  readonly folder: string;
  readonly tmpfs: readonly string[];
  /** Of compose.yaml: ready. */
  readonly probe: readonly string[];
  /** Of the image: alive; null when it has none that we know. */
  readonly liveness: readonly string[] | null;
  readonly dependsOn: readonly string[];
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export function readCompose(): Readonly<Record<string, ComposeService>> {
  const text = readFileSync(join(ROOT, 'deploy/compose/compose.yaml'), 'utf8');
  return (parse(text, { merge: true }) as { services: Record<string, ComposeService> }).services;
}

export function readFinalStage(dockerfile: string): FinalStage {
  const lines = readFileSync(join(ROOT, dockerfile), 'utf8').split('\n');
  const assembled = lines.find((line) => line.includes('assemble.mjs /image '));
  const from = lines.findLastIndex((line) => line.startsWith('FROM '));
  const all = (word: string): string[] =>
    lines.slice(from).flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
  const array = (text = ''): string[] => JSON.parse(text.slice(text.indexOf('['))) as string[];
  const pairs = all('ENV').flatMap((line) => line.split(' ').map((pair) => pair.split('=', 2)));
  return {
    user: all('USER')[0] ?? 'root',
    environment: Object.fromEntries(pairs) as Record<string, string>,
    entrypoint: array(all('ENTRYPOINT')[0]),
    services: assembled?.split('/image ')[1]?.split(' ') ?? [],
    healthcheck: array(all('HEALTHCHECK')[0]),
  };
}

/** Folders with what the images hold, by service; readable for every user. */
export class Images {
  readonly #root: string;
  readonly #folders = new Map<string, string>();

  constructor() {
    this.#root = mkdtempSync('/var/tmp/ulysses-images-');
    chmodSync(this.#root, 0o755);
  }

  /** How a service of Compose would run. */
  composed({ build, image, ...service }: ComposeService): Container {
    return this.container({
      dockerfile: build?.dockerfile ?? null,
      image,
      args: service.command ?? [],
      environment: service.environment ?? {},
      user: service.user,
      tmpfs: service.tmpfs ?? [],
      probe: service.healthcheck.test.slice(1),
      dependsOn: Object.keys(service.depends_on ?? {}),
    });
  }

  container({ dockerfile, image, ...spec }: ContainerSpec): Container {
    const stage = dockerfile === null ? null : readFinalStage(dockerfile);
    const folder = dockerfile === null ? this.#redis(image) : this.#services(dockerfile);
    return {
      argv: [...(spec.command ?? stage?.entrypoint ?? []), ...spec.args],
      environment: {
        PATH: [join(folder, 'bin'), dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter),
        ...(stage === null ? { LD_LIBRARY_PATH: join(folder, 'lib') } : {}),
        ...stage?.environment,
        ...spec.environment,
      },
      user: spec.user ?? stage?.user ?? 'root',
      folder,
      tmpfs: spec.tmpfs,
      probe: spec.probe,
      liveness: stage?.healthcheck ?? null,
      dependsOn: spec.dependsOn,
    };
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  #services(dockerfile: string): string {
    return this.#once(basename(dockerfile), (folder) => {
      const { services } = readFinalStage(dockerfile);
      execFileSync(process.execPath, [join(ROOT, 'deploy/images/assemble.mjs'), folder, ...services]);
    });
  }

  /** The programs of the official image. */
  #redis(image: string): string {
    if (!image.startsWith('redis:')) throw new Error(`${image} is no image that the test knows`);
    return this.#once('redis', (folder) => {
      const { programs, libraries } = findRedis();
      for (const program of ['redis-server', 'redis-cli']) {
        cpSync(join(programs, program), join(folder, 'bin', program), { dereference: true });
      }
      for (const library of libraries?.split(delimiter) ?? []) {
        // Links stay relative: those into the checkout may be hidden by a container's own /tmp.
        cpSync(library, join(folder, 'lib'), { recursive: true, verbatimSymlinks: true });
      }
    });
  }

  #once(name: string, fill: (folder: string) => void): string {
    const existing = this.#folders.get(name);
    if (existing !== undefined) return existing;
    const folder = join(this.#root, name);
    fill(folder);
    this.#folders.set(name, folder);
    return folder;
  }
}
