// Regenerates packages/rpc/src/generated from proto/ulysses/v1: the types of all control messages, and the descriptors
// that server reflection hands out. check-generated.mjs shares `generate`.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = resolve(import.meta.dirname, '..');
export const GENERATED = join(root, 'packages/rpc/src/generated');

const fromRpc = createRequire(join(root, 'packages/rpc/package.json'));
const loader = dirname(fromRpc.resolve('@grpc/proto-loader/package.json'));
const healthProto = resolve(dirname(fromRpc.resolve('grpc-health-check/package.json')), 'proto');
const { FileDescriptorProto, FileDescriptorSet } = createRequire(join(loader, 'package.json'))(
  'protobufjs/ext/descriptor',
);

// Control plane only: TensorPlaneService is native and its messages never reach TypeScript.
const SOURCES = ['tensor', 'plan', 'coordinator', 'rank', 'rendezvous'].map(
  (name) => `ulysses/v1/${name}.proto`,
);

/** Writes everything generated under `outDir`, which is emptied first. */
export async function generate(outDir) {
  await rm(outDir, { recursive: true, force: true });
  await run(join(loader, 'build/bin/proto-loader-gen-types.js'), [
    ...['--longs=Number', '--enums=String', '--defaults', '--oneofs', '--includeComments'],
    ...['--grpcLib=@grpc/grpc-js', '--importFileExtension=.js'],
    ...['-I', 'proto', '-O', outDir],
    ...SOURCES,
  ]);
  const files = [...(await descriptors('proto')), ...(await descriptors(healthProto))];
  await writeFile(
    join(outDir, 'file-descriptors.ts'),
    [
      '// FileDescriptorProto of every file in proto/ and of the standard health service, as base64.',
      'export const FILE_DESCRIPTORS: readonly string[] = [',
      ...files.map((file) => `  '${file}',`),
      '];\n',
    ].join('\n'),
  );
}

/**
 * Files under one proto root, compiled by buf. What proto-loader makes of them loses `optional` and misnames map
 * entries, and tools written in Go refuse that.
 */
async function descriptors(protoRoot) {
  const folder = await mkdtemp(join(tmpdir(), 'descriptors-'));
  try {
    const output = join(folder, 'set.binpb');
    const buf = dirname(createRequire(import.meta.url).resolve('@bufbuild/buf/package.json'));
    await run(join(buf, 'bin/buf'), [
      ...['build', protoRoot, '--exclude-source-info', '--as-file-descriptor-set'],
      ...['-o', output],
    ]);
    const { file } = FileDescriptorSet.decode(await readFile(output));
    return file.map((each) => Buffer.from(FileDescriptorProto.encode(each).finish()).toString('base64'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function run(script, args) {
  return promisify(execFile)(process.execPath, [script, ...args], { cwd: root });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await generate(GENERATED);
