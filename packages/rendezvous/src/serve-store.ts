import type { CoordinatorHandlers, RendezvousHandlers } from '@ulysses/rpc';
import { linkSignals } from '@ulysses/runtime';
import type { MembershipStore } from './membership-store.js';

/** Handlers of RendezvousService over a store, for `rendezvousService` of @ulysses/rpc. */
export function rendezvousHandlers(store: MembershipStore): RendezvousHandlers {
  return {
    join: (request, { signal }) => store.join(request, { signal }),
    renew: (request, { signal }) => store.renew(request, { signal }),
    leave: async ({ member }, { signal }) => {
      await store.leave(member, { signal });
      return {};
    },
    revoke: async ({ member }, { signal }) => {
      await store.revoke(member, { signal });
      return {};
    },
  };
}

/**
 * `watchMembership` of CoordinatorService over a store. These streams live as long as their callers; `closing` ends
 * them when the coordinator shuts down, so that they do not use up its grace.
 */
export function watchMembershipHandler(
  store: MembershipStore,
  closing?: AbortSignal,
): CoordinatorHandlers['watchMembership'] {
  return async function* (_request, { signal }) {
    const either = linkSignals([signal, closing]);
    try {
      yield* store.watch(either.signal);
    } finally {
      either.release();
    }
  };
}
