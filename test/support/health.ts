import { Client, credentials } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';

const { Check } = loadSync(protoPath, { enums: String })['grpc.health.v1.Health'] as unknown as {
  readonly Check: {
    readonly path: string;
    readonly requestSerialize: (request: { readonly service: string }) => Buffer;
    readonly responseDeserialize: (bytes: Buffer) => { readonly status: string };
  };
};

/** What the port at `address` says of a service, '' for its process, to a stranger with nothing but the standard proto. */
export async function healthOf(address: string, service: string): Promise<string> {
  const client = new Client(address, credentials.createInsecure());
  try {
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        Check.path,
        Check.requestSerialize,
        Check.responseDeserialize,
        { service },
        (failure, answer) => {
          if (failure === null && answer !== undefined) resolve(answer.status);
          else reject(new Error(`health of ${service} at ${address}: ${failure?.message}`));
        },
      );
    });
  } finally {
    client.close();
  }
}
