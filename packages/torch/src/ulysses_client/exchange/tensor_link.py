"""The owner's link to a rank: one Push and one Pull call, as long as both live.

L1: threads and calls end with `close`, which waits for them.
L2: a link that broke stays broken; `on_lost` is called once.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import grpc

from ..call_thread import CallThread
from ..errors import PeerLostError, StaleEpochError, UlyssesError
from ..generated import tensor_pb2, tensor_plane_pb2
from ..wire.connection import ConnectionOptions
from ..wire.convert import StepKey, error_from_proto, pass_name
from ..wire.grpc_threads import GrpcThreads
from ..wire.rpc import PARTY_METADATA, error_from_call, open_channel
from ..wire.slices import ROLE_OWNER, SliceHead, chunks_of, decode_slice, encode_slice, peer_role
from ..wire.tls import tls_refusal
from .owner_exchange import Send
from .step_channel import StepChannel

#: How long rows wait for their step to be registered here.
EARLY_SLICE_SECONDS = 5.0
#: How many closed steps are remembered, to tell their late slices from early ones.
CLOSED_STEPS = 256
#: How long `close` waits for a thread that works on a last message.
JOIN_SECONDS = 5.0

_PUSH = "/ulysses.v1.TensorPlaneService/Push"
_PULL = "/ulysses.v1.TensorPlaneService/Pull"


class _Outgoing(NamedTuple):
    channel: StepChannel
    send: Send


class TensorLink:
    def __init__(
        self,
        address: str,
        owner: int,
        party: str,
        connections: ConnectionOptions,
        on_lost: Callable[[UlyssesError], None],
    ) -> None:
        self._address = address
        self._tls = connections.tls
        #: Whether the peer ever said anything: if not, certificates may be why.
        self._heard = False
        self._owner = owner
        self._on_lost = on_lost
        self._outgoing: queue.SimpleQueue[_Outgoing | None] = queue.SimpleQueue()
        self._acks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._registered = threading.Condition()
        self._steps: dict[StepKey, StepChannel] = {}
        self._closed_steps: OrderedDict[StepKey, None] = OrderedDict()
        self._ended = False
        self._metadata = ((PARTY_METADATA, party),)
        self._channel = open_channel(address, connections)
        self._calls: list[Any] = []
        self._grpc_threads = GrpcThreads()
        self._threads: list[CallThread] = []

    def begin(self) -> None:
        """Once the link can be found, to be closed. Interrupted, it is lost."""
        try:
            self._begin(_PUSH, tensor_plane_pb2.PushResponse.FromString, self._slices(), self._take_ack)
            self._begin(_PULL, None, self._outgoing_acks(), self._take_slice)
        except BaseException:
            self._end(None)
            raise

    def _begin(self, method: str, decode: Any, messages: Iterator[bytes], take: Callable[[Any], None]) -> None:
        start: Any = self._channel.stream_stream(method, None, decode)
        call = start(self._grpc_threads.feed(messages), metadata=self._metadata)
        self._calls.append(call)
        if self._ended:
            # The other call has failed already.
            call.cancel()
        self._grpc_threads.follow(call)
        thread = CallThread("ulysses-link", partial(self._read, call, take))
        self._threads.append(thread)
        thread.start()

    @property
    def live(self) -> bool:
        return not self._ended

    def register(self, channel: StepChannel) -> None:
        """From now on the step's rows are taken."""
        with self._registered:
            self._steps[channel.key] = channel
            self._registered.notify_all()

    def send(self, channel: StepChannel, send: Send) -> None:
        self._outgoing.put(_Outgoing(channel, send))

    def remove(self, channel: StepChannel) -> None:
        """From now on the step's rows are late and are refused."""
        with self._registered:
            self._steps.pop(channel.key, None)
            self._closed_steps[channel.key] = None
            while len(self._closed_steps) > CLOSED_STEPS:
                self._closed_steps.popitem(last=False)
            self._registered.notify_all()

    def close(self) -> None:
        self._end(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(JOIN_SECONDS)
        self._channel.close()
        self._grpc_threads.join()

    def _end(self, reason: UlyssesError | None) -> None:
        with self._registered:
            if self._ended:
                return
            self._ended = True
            self._registered.notify_all()
        self._outgoing.put(None)
        self._acks.put(None)
        for call in self._calls:
            call.cancel()
        if reason is not None:
            self._on_lost(reason)

    def _slices(self) -> Iterator[bytes]:
        """Runs in gRPC's thread: a slice is packed when the connection has room for it."""
        while (outgoing := self._outgoing.get()) is not None:
            channel, (rank, tensor, number, rows, part) = outgoing
            first = part.begin * rows.shape[1]
            for offset, piece in chunks_of(rows[part.begin : part.end]):
                if not channel.live:
                    break
                names = (channel.epoch, channel.key, self._owner, rank, tensor, number)
                yield encode_slice(*names, rows.size, first + offset, piece)

    def _outgoing_acks(self) -> Iterator[bytes]:
        while (ack := self._acks.get()) is not None:
            yield ack

    def _read(self, call: Any, take: Callable[[Any], None]) -> None:
        reason: UlyssesError = PeerLostError("the peer ended the call")
        try:
            for message in call:
                self._heard = True
                take(message)
        except grpc.RpcError as failure:
            reason = error_from_call(failure, "the tensor link")
            if not self._heard and not self._ended and isinstance(reason, PeerLostError):
                reason = tls_refusal(self._address, self._tls) or reason
        except UlyssesError as error:
            reason = error
        self._end(reason)

    def _take_ack(self, message: tensor_plane_pb2.PushResponse) -> None:
        ack = message.ack
        channel = self._steps.get(_key_of(ack.step))
        if channel is None or channel.epoch != ack.epoch:
            return
        if ack.HasField("error"):
            channel.fail(error_from_proto(ack.error))
        else:
            channel.acknowledged(ack.destination.index, ack.bytes)

    def _take_slice(self, message: bytes) -> None:
        head, payload = decode_slice(message)
        channel = self._find_step(head.key)
        if channel is None or channel.epoch != head.epoch:
            refusal = StaleEpochError(f"step {head.key} of epoch {head.epoch} is not registered")
            self._acknowledge(head, 0, refusal)
            return
        try:
            total = channel.place(head, payload)
        except UlyssesError as error:
            channel.fail(error)
            self._acknowledge(head, 0, error)
            return
        if total is not None:
            self._acknowledge(head, total, None)

    def _find_step(self, key: StepKey) -> StepChannel | None:
        """The step of a slice; waits for it to be registered, unless it is late."""
        deadline = time.monotonic() + EARLY_SLICE_SECONDS
        with self._registered:
            while not self._ended and key not in self._steps and not self._is_late(key):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._registered.wait(left)
            return self._steps.get(key)

    def _is_late(self, key: StepKey) -> bool:
        def same_step(known: StepKey) -> bool:
            return (known.call, known.passing) == (key.call, key.passing) and known.attempt > key.attempt

        return key in self._closed_steps or any(map(same_step, [*self._steps, *self._closed_steps]))

    def _acknowledge(self, head: SliceHead, placed_bytes: int, refusal: UlyssesError | None) -> None:
        error = None
        if refusal is not None:
            details = {"peer": f"owner {self._owner}"}
            error = tensor_pb2.Error(code=refusal.code, message=refusal.message, details=details)
        ack = tensor_plane_pb2.Ack(
            epoch=head.epoch,
            step=head.key.to_proto(),
            source=tensor_pb2.Party(role=peer_role(head.tensor), index=head.source),  # type: ignore[arg-type]
            destination=tensor_pb2.Party(role=ROLE_OWNER, index=self._owner),  # type: ignore[arg-type]
            bytes=placed_bytes,
            error=error,
        )
        with contextlib.suppress(Exception):
            self._acks.put(tensor_plane_pb2.PullRequest(ack=ack).SerializeToString())


def _key_of(step: tensor_pb2.StepKey) -> StepKey:
    return StepKey(step.job, step.session, step.call, pass_name(getattr(step, "pass")), step.attempt)
