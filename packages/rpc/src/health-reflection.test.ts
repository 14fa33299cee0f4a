import {
  Metadata,
  credentials,
  makeGenericClientConstructor,
  type Client,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath as healthProto } from 'grpc-health-check';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { rankService, rendezvousService, serve, type BoundService } from './serve.js';

// A stranger's view of a control port: grpc-js with nothing but the standard protos.

const reflectionRoot = dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));
const reflectionProto = join(reflectionRoot, 'build/proto/grpc/reflection/v1/reflection.proto');
const OPTIONS = { enums: String, defaults: true, oneofs: true };

const refuse = async (): Promise<never> => Promise.reject(new Error('unused'));
const RENDEZVOUS = rendezvousService({ join: refuse, renew: refuse, leave: refuse, revoke: refuse });
const RANK = rankService({
  // eslint-disable-next-line require-yield
  steps: async function* () {
    await refuse();
  },
  getRankStatus: refuse,
});

const closers: { close(graceMs: number): unknown }[] = [];
afterEach(async () => {
  for (const each of closers.splice(0).reverse()) await each.close(0);
});

async function started(services: readonly BoundService[], serving?: boolean) {
  const server = await serve({
    listen: '127.0.0.1:0',
    services,
    ...(serving === undefined ? {} : { serving }),
  });
  closers.push(server);
  return server;
}

function clientOf(
  protoPath: string,
  service: string,
  address: string,
): Client & { definition: ServiceDefinition } {
  const definition = loadSync(protoPath, OPTIONS)[service] as ServiceDefinition;
  const client = new (makeGenericClientConstructor(definition, service))(
    address,
    credentials.createInsecure(),
  );
  closers.push(client);
  return Object.assign(client, { definition });
}

async function health(address: string, service: string): Promise<string> {
  const client = clientOf(healthProto, 'grpc.health.v1.Health', address);
  const { path, requestSerialize, responseDeserialize } = client.definition['Check']!;
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { service },
      new Metadata(),
      (failure, answer) => {
        resolve(failure === null ? (answer as { status: string }).status : failure.details);
      },
    );
  });
}

interface Reflected {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
}

async function reflect(address: string, request: object): Promise<Reflected> {
  const client = clientOf(reflectionProto, 'grpc.reflection.v1.ServerReflection', address);
  const { path, requestSerialize, responseDeserialize } = client.definition['ServerReflectionInfo']!;
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  return new Promise((resolve, reject) => {
    call.on('data', resolve).on('error', reject);
    call.write(request);
    call.end();
  });
}

describe('health', () => {
  it('says SERVING for the process and each of its services at first', async () => {
    const { address } = await started([RENDEZVOUS, RANK]);
    expect(await health(address, '')).toBe('SERVING');
    expect(await health(address, 'ulysses.v1.RankService')).toBe('SERVING');
    expect(await health(address, 'ulysses.v1.CoordinatorService')).toContain('unknown');
  });

  it('says NOT_SERVING at first where the process asks for it, and follows setServing', async () => {
    const server = await started([RANK], false);
    expect(await health(server.address, '')).toBe('NOT_SERVING');
    server.setServing('', true);
    expect(await health(server.address, '')).toBe('SERVING');
    expect(await health(server.address, 'ulysses.v1.RankService')).toBe('NOT_SERVING');
  });
});

describe('reflection', () => {
  it('lists the services of this port and health, and no others', async () => {
    const { address } = await started([RENDEZVOUS]);
    const { listServicesResponse } = await reflect(address, { listServices: '*' });
    expect(listServicesResponse?.service.map(({ name }) => name).sort()).toEqual([
      'grpc.health.v1.Health',
      'ulysses.v1.RendezvousService',
    ]);
  });

  it('hands out the files of a service with field names as in the proto', async () => {
    const { address } = await started([RANK]);
    const request = { fileContainingSymbol: 'ulysses.v1.RankService' };
    const files = (await reflect(address, request)).fileDescriptorResponse?.fileDescriptorProto ?? [];
    const text = Buffer.concat(files.map((file) => Buffer.from(file))).toString('latin1');
    // `DetailsEntry` and `_left` are how a map field and an optional field must look for other tools.
    for (const name of ['RankService', 'control_address', 'DetailsEntry', '_left'])
      expect(text).toContain(name);
  });
});
