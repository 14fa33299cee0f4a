import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
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
  readonly healthcheck: readonly string[];
}

/** A service as an engine would run it, with a folder in place of its image. */
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
  const from = lines.findLastIndex((line) => line.startsWith('FROM '));
  const all = (word: string): string[] =>
    lines.slice(from).flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
  const array = (text = ''): string[] => JSON.parse(text.slice(text.indexOf('['))) as string[];
  const pairs = all('ENV').flatMap((line) => line.split(' ').map((pair) => pair.split('=', 2)));
  return {
    user: all('USER')[0] ?? 'root',
    environment: Object.fromEntries(pairs) as Record<string, string>,
    entrypoint: array(all('ENTRYPOINT')[0]),
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

  /** How `service` would run. */
  container({ build, image, ...service }: ComposeService): Container {
    const stage = build === undefined ? null : readFinalStage(build.dockerfile);
    const folder = build === undefined ? this.#redis(image) : this.#service(build.dockerfile);
    return {
      argv: [...(stage?.entrypoint ?? []), ...(service.command ?? [])],
      environment: {
        PATH: [join(folder, 'bin'), dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter),
        ...(stage === null ? { LD_LIBRARY_PATH: join(folder, 'lib') } : {}),
        ...stage?.environment,
        ...service.environment,
      },
      user: service.user ?? stage?.user ?? 'root',
      folder,
      tmpfs: service.tmpfs ?? [],
      probe: service.healthcheck.test.slice(1),
      liveness: stage?.healthcheck ?? null,
      dependsOn: Object.keys(service.depends_on ?? {}),
    };
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  #service(dockerfile: string): string {
    const name = /(\w+)\.Dockerfile$/.exec(dockerfile)?.[1] ?? '';
    return this.#once(name, (folder) => {
      execFileSync(process.execPath, [join(ROOT, 'deploy/images/assemble.mjs'), name, folder]);
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
