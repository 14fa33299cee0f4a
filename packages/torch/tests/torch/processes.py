"""Trainer processes of a `torch.distributed` group, started as `torchrun` does but for its own import of PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore


@contextmanager
def trainers(program: Path, count: int, *arguments: str, **environment: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Those of the group, by rank; ended with the block."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    group = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        # Where the store is: not with rank 0.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(count),
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**os.environ, **group, "RANK": str(rank), **environment},
            **pipes,
        )
        for rank in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def run_trainers(program: Path, count: int, *arguments: str, **environment: str) -> list[str]:
    """What each printed; all have to end well."""
    with trainers(program, count, *arguments, **environment) as started:
        ended = [(process.communicate(timeout=100), process.returncode) for process in started]
    for (_, errors), status in ended:
        assert status == 0, errors[-3000:]
    return [printed for (printed, _), _ in ended]
