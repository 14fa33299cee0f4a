import { SILENT_PEER_MS } from '@ulysses/runtime';

/** Options of grpc-js: whoever is silent for half of that time is asked for a sign of life, and has the other half to give it. */
export function keepaliveOptions(silentPeerMs = SILENT_PEER_MS) {
  return { 'grpc.keepalive_time_ms': silentPeerMs / 2, 'grpc.keepalive_timeout_ms': silentPeerMs / 2 };
}
