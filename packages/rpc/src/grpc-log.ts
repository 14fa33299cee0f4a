import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';

/** grpc-js writes to the console on its own; what it has to say reaches our callers as errors. */
export function silenceGrpcLog(): void {
  setLogVerbosity(logVerbosity.NONE);
}
