"""Mutual TLS: the files of a connection, and what is wrong with certificates when no connection can be made."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ..errors import ConfigError, UnauthenticatedError, field_error

#: Longest that a peer is asked why it refuses.
_ASK_SECONDS = 0.5


@dataclass(frozen=True)
class TlsFiles:
    """Paths of PEM files. New connections use them as they are then."""

    #: This process's certificate, with its intermediates.
    cert: str | os.PathLike[str]
    key: str | os.PathLike[str]
    #: Authorities whose certificates are accepted.
    ca: str | os.PathLike[str]
    #: The name that certificates of ranks and coordinators are to have; None: the host that is dialled.
    server_name: str | None = None

    def check(self) -> None:
        """Raises CONFIG for files that cannot be used."""
        self.context()

    def stamps(self) -> tuple[tuple[int, int, int], ...]:
        """Changes whenever a file does. Raises OSError while one is missing."""
        stats = [os.stat(path) for path in (self.cert, self.key, self.ca)]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca)
        except OSError as error:
            raise field_error(ConfigError, "tls.ca", self.ca, f"a PEM file of certificates ({error})") from error
        try:
            context.load_cert_chain(self.cert, self.key)
        except OSError as error:
            pair = f"{self.cert}, {self.key}"
            raise field_error(
                ConfigError, "tls.cert", pair, f"PEM files of a certificate and its key ({error})"
            ) from error
        return context

    def credentials(self) -> grpc.ChannelCredentials:
        self.check()
        ca, key, cert = (Path(path).read_bytes() for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(ca, key, cert)

    def channel_options(self) -> list[tuple[str, Any]]:
        return [] if self.server_name is None else [("grpc.ssl_target_name_override", self.server_name)]


def tls_refusal(address: str, tls: TlsFiles | None) -> UnauthenticatedError | None:
    """Whether certificates are why nothing can be had from `address`.

    gRPC has the reason as text only, so the peer is asked again.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    reason = _plaintext_refusal(host, int(port)) if tls is None else _refusal(host, int(port), tls)
    if reason is None:
        return None
    expected = "a peer in plaintext, as tls is not given" if tls is None else "mutual TLS"
    details = {"address": address, "field": "tls", "value": reason, "expected": expected}
    return UnauthenticatedError(f"{address}: {reason}", details)


def _plaintext_refusal(host: str, port: int) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), _ASK_SECONDS) as plain, context.wrap_socket(plain):
            return "it speaks TLS, expected plaintext as tls is not given"
    except OSError:
        return None


def _refusal(host: str, port: int, tls: TlsFiles) -> str | None:
    context = tls.context()
    context.set_alpn_protocols(["h2"])
    name = tls.server_name or host
    shaken = False
    try:
        with (
            socket.create_connection((host, port), _ASK_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            shaken = True
            # Whoever accepts our certificate begins with its HTTP/2 settings; who does not, ends the connection.
            heard = secure.recv(1)
            return None if heard else "it does not accept this process's certificate: it ended the connection"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message}"
    except TimeoutError:
        return None
    except ssl.SSLError as error:
        if shaken or "ALERT" in (error.reason or ""):
            return f"it does not accept this process's certificate: {error.reason}"
        return f"it does not speak TLS, expected TLS as tls is given: {error.reason}"
    except OSError as error:
        return f"it does not accept this process's certificate: {error.strerror}" if shaken else None
