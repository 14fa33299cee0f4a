"""Certificates for tests, as scripts/test-certificates.mjs writes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ulysses_client.wire.tls import TlsFiles

SCRIPT = Path(__file__).parents[3] / "scripts/test-certificates.mjs"


class Certificates:
    """`folder / name` holds the files of member, other, expired, elsewhere and stranger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run(["node", str(SCRIPT), str(folder)], check=True)

    def files(self, name: str, server_name: str | None = None) -> TlsFiles:
        at = self._folder / name
        return TlsFiles(at / "cert.pem", at / "key.pem", at / "ca.pem", server_name)

    def put(self, name: str, place: str) -> None:
        """Writes the files of `name` where those of `place` are."""
        shutil.copytree(self._folder / name, self._folder / place, dirs_exist_ok=True)


def flags(tls: TlsFiles) -> list[str]:
    return ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key), "--tls-ca", str(tls.ca)]
