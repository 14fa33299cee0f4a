"""A trainer that makes many steps resets none of its calls: a server takes thousands of resets for an attack."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import TestCluster
from ulysses_client.cluster import connect

from .test_exchange import inputs, step, view_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RST_STREAM = 3


class FrameTypes:
    """Types of the HTTP/2 frames that a client sent."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._pending = b""

    def read(self, data: bytes) -> None:
        self._pending = (self._pending + data).removeprefix(PREFACE)
        while len(self._pending) >= 9:
            end = 9 + int.from_bytes(self._pending[:3], "big")
            if len(self._pending) < end:
                return
            self.seen.append(self._pending[3])
            self._pending = self._pending[end:]


@contextmanager
def watched(address: str) -> Iterator[tuple[str, FrameTypes]]:
    """Another address of the server, for one connection, and what a client sends there."""
    frames = FrameTypes()
    host, port = address.split(":")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            upstream = socket.create_connection((host, int(port)))

            def answer() -> None:
                while data := upstream.recv(65536):
                    client.sendall(data)

            answering = threading.Thread(target=answer)
            answering.start()
            while data := client.recv(65536):
                frames.read(data)
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_RDWR)
            answering.join()
            upstream.close()
            client.close()

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", frames
        serving.join()


def test_no_call_is_reset(cluster: TestCluster) -> None:
    with watched(cluster.address) as (address, frames):
        with connect(address, session="many-steps") as connection:
            for _ in range(20):
                step(connection, view_of(9), *inputs(9))
        assert frames.seen
    assert RST_STREAM not in frames.seen
