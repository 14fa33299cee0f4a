import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { findHelm } from '../../scripts/find-helm.mjs';
import type { ContainerSpec } from './deployment.js';

/** A pod's only container, as far as the chart says something of it. */
export interface PodContainer {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly EnvironmentVariable[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly readinessProbe?: Probe;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string };
    readonly configMapKeyRef?: { readonly name: string; readonly key: string };
  };
}

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
  readonly exec?: { readonly command: readonly string[] };
}

export interface PodSpec {
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly containers: readonly [PodContainer];
  readonly volumes?: readonly { readonly name: string; readonly emptyDir?: object }[];
}

export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly replicas?: number; readonly template?: { readonly spec: PodSpec } };
}

/** What `helm template` says, either manifests or why there are none. */
export interface Rendered {
  readonly manifests: readonly Manifest[];
  readonly problem: string;
}

export const helm = findHelm();

const CHART = fileURLToPath(new URL('../../deploy/helm/ulysses', import.meta.url));
const IMAGE = /^ulysses-(?<service>\w+):/;

/** Renders the chart as release `ulysses` of namespace `training`; `values` are of `--set`. */
export function render(values: readonly string[], ...flags: readonly string[]): Rendered {
  const args = [
    'template',
    'ulysses',
    CHART,
    '--namespace',
    'training',
    '--kube-version',
    '1.34.0',
    ...flags,
  ];
  const { status, stdout, stderr } = spawnSync(
    helm!,
    [...args, ...values.flatMap((each) => ['--set', each])],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) return { manifests: [], problem: stderr };
  const documents = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest | null);
  return { manifests: documents.filter((each) => each !== null), problem: '' };
}

/** Names that the schema of the values takes as settings of a part. */
export function settingsOf(part: 'coordinator' | 'rank'): readonly string[] {
  const text = readFileSync(join(CHART, 'values.schema.json'), 'utf8');
  const { properties } = JSON.parse(text) as {
    properties: Record<string, { properties: { settings: { propertyNames: { enum: string[] } } } }>;
  };
  return properties[part]!.properties.settings.propertyNames.enum;
}

/** Those that make pods, with the pod and how many of them there are. */
export function podsOf({
  manifests,
}: Rendered): readonly { manifest: Manifest; pod: PodSpec; count: number }[] {
  return manifests.flatMap((manifest) => {
    const pod = manifest.spec?.template?.spec;
    return pod === undefined ? [] : [{ manifest, pod, count: manifest.spec?.replicas ?? 1 }];
  });
}

/** The container of a pod as its kubelet would run it. `mounted` says where the mounts of its Secrets are. */
export function containerOf(
  pod: PodSpec,
  { manifests }: Rendered,
  podIp: string,
  mounted: Readonly<Record<string, string>>,
): ContainerSpec {
  const [container] = pod.containers;
  const environment: Record<string, string> = {};
  for (const { name, value, valueFrom } of container.env ?? []) {
    const reference = valueFrom?.configMapKeyRef;
    const map = manifests.find(
      ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === reference?.name,
    );
    const said = valueFrom?.fieldRef?.fieldPath === 'status.podIP' ? podIp : map?.data?.[reference!.key];
    const text = value ?? said;
    if (text === undefined) throw new Error(`${container.name} has no value for ${name}`);
    environment[name] = moved(text, mounted).replace(
      /\$\((\w+)\)/g,
      (_, other: string) => environment[other]!,
    );
  }
  const service = IMAGE.exec(container.image)?.groups?.service;
  const inMemory =
    pod.volumes?.filter(({ emptyDir }) => emptyDir !== undefined).map(({ name }) => name) ?? [];
  return {
    dockerfile: service === undefined ? null : `deploy/images/${service}.Dockerfile`,
    image: container.image,
    ...(container.command === undefined ? {} : { command: container.command }),
    args: container.args ?? [],
    environment,
    user: [pod.securityContext.runAsUser, pod.securityContext.runAsGroup].join(':'),
    tmpfs: (container.volumeMounts ?? [])
      .filter(({ name }) => inMemory.includes(name))
      .map((mount) => mount.mountPath),
    probe: commandOf(container.readinessProbe, container),
    dependsOn: [],
  };
}

/** An HTTP probe as a command that asks from inside. */
function commandOf(probe: Probe | undefined, { ports }: PodContainer): readonly string[] {
  if (probe?.httpGet === undefined) return probe?.exec?.command ?? [];
  const { path, port } = probe.httpGet;
  const number = ports?.find(({ name }) => name === port)?.containerPort;
  const code = `fetch('http://127.0.0.1:${number}${path}').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))`;
  return ['node', '-e', code];
}

function moved(text: string, mounted: Readonly<Record<string, string>>): string {
  const mount = Object.keys(mounted).find((path) => text.startsWith(`${path}/`));
  return mount === undefined ? text : `${mounted[mount]}${text.slice(mount.length)}`;
}
