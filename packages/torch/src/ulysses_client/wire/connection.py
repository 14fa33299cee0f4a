"""How connections are made and kept, to the coordinator and to ranks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, field_error
from ..plan.split_sizes import is_integer
from .tls import TlsFiles

#: A living peer of a busy machine has to answer within half of it.
_LEAST_SILENT_PEER_MS = 1000

#: Names are taken at their word: only `localhost` is known to mean this host.
_LOOPBACK = re.compile(r"(127(\.\d{1,3}){3}|localhost|\[::1\]|\[::ffff:127(\.\d{1,3}){3}\]):")


@dataclass(frozen=True)
class ConnectionOptions:
    #: None: plaintext.
    tls: TlsFiles | None = None
    #: Plaintext beyond loopback is meant.
    insecure: bool = False
    #: How long a peer may be silent before its connection is lost.
    silent_peer_ms: int = 20_000

    def check(self) -> None:
        """Raises CONFIG for files that cannot be used, and for a time in which no peer could answer."""
        if not is_integer(self.silent_peer_ms) or self.silent_peer_ms < _LEAST_SILENT_PEER_MS:
            expected = f"an integer of at least {_LEAST_SILENT_PEER_MS}"
            raise field_error(ConfigError, "silent_peer_ms", self.silent_peer_ms, expected)
        if self.tls is not None:
            self.tls.check()

    def require_private(self, field: str, address: str) -> None:
        """Raises CONFIG for plaintext that strangers could read or answer, unless it is meant."""
        if self.tls is None and not self.insecure and not _LOOPBACK.match(address):
            expected = "a loopback address, TLS, or insecure if all who reach it are trusted"
            raise field_error(ConfigError, field, address, expected)

    def channel_options(self) -> list[tuple[str, Any]]:
        """Whoever is silent for half of the time is asked for a sign of life, and has the other half to give it."""
        half = self.silent_peer_ms // 2
        # A ping by which gRPC measures bandwidth holds up ours while it is not answered: 60 s, unless this is said.
        waited = [(f"grpc.{kind}_timeout_ms", half) for kind in ("keepalive", "http2.ping")]
        return [("grpc.keepalive_time_ms", half), *waited]
