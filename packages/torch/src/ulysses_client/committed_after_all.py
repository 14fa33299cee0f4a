"""What an owner does whose call to the coordinator broke before it heard how its step ended."""

from __future__ import annotations

import threading
import time

import grpc

from .coordinators import Coordinator
from .errors import PeerLostError, UlyssesError
from .generated import coordinator_pb2
from .wire.convert import StepKey
from .wire.rpc import error_from_call

_PAUSE_SECONDS = 0.1
_ANSWER_SECONDS = 1.0


def transport_failed(error: UlyssesError) -> bool:
    """Nobody said so: the connection to the coordinator broke, or there was none."""
    return isinstance(error, PeerLostError) and "grpcStatus" in error.details


def committed_after_all(
    coordinator: Coordinator, owner: int, step: StepKey, deadline_at: float, ended: threading.Event
) -> bool:
    """Whether the step committed although the call that would have said so broke.

    The other owners of a committed step have returned, so that nobody would be there to repeat it with. Asks until
    there is an answer, the deadline passes or `ended` is set.
    """
    request = coordinator_pb2.SettleStepRequest(step=step.to_proto(), owner_index=owner)
    while not ended.is_set() and (left := deadline_at - time.monotonic()) > 0:
        try:
            answer = coordinator.settle_step(request, timeout=min(left, _ANSWER_SECONDS))
        except grpc.RpcError as failure:
            error = error_from_call(failure, "SettleStep")
            if not transport_failed(error) and failure.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                return False
        except ValueError:
            # The connection was closed here.
            return False
        else:
            return bool(answer.committed)
        ended.wait(_PAUSE_SECONDS)
    return False
