import { toUlyssesError } from '@ulysses/errors';
import type { CoordinatorClient, Membership } from '@ulysses/rpc';
import { delay, type Logger } from '@ulysses/runtime';

const WATCH_AGAIN_MS = 100;

/** Calls `onMembership` with the membership now and with every change, until `stop` aborts, and closes the connection. Never throws. */
export async function followMembership(
  coordinator: CoordinatorClient,
  onMembership: (membership: Membership) => void,
  logger: Logger,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    await watch(coordinator, onMembership, logger, stop);
    await delay(WATCH_AGAIN_MS, stop).catch(() => undefined);
  }
  coordinator.close();
}

async function watch(
  coordinator: CoordinatorClient,
  onMembership: (membership: Membership) => void,
  logger: Logger,
  stop: AbortSignal,
): Promise<void> {
  try {
    for await (const membership of coordinator.watchMembership({}, { signal: stop }))
      onMembership(membership);
  } catch (thrown) {
    const { code, message } = toUlyssesError(thrown);
    if (!stop.aborted) logger.warn({ code, reason: message }, 'membership watch broke');
  }
}
