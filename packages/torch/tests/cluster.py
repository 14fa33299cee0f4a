"""A real cluster for tests: `ulysses up --json` as a child process, ended by its id."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from ulysses_client.generated import coordinator_pb2

CLI = Path(__file__).parents[3] / "services/cli/dist/main.js"
READY_SECONDS = 30


class TestCluster:
    __test__ = False

    def __init__(self, cp_size: int, *flags: str) -> None:
        command = ["node", str(CLI), "up", "--json", "--log-level", "warn", "--context-parallel-size", str(cp_size)]
        self._process = subprocess.Popen(
            [*command, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="test-cluster", daemon=True)
        self._reader.start()
        while not (ready := self._next()).get("ready"):
            pass
        self.address: str = ready["address"]
        self.coordinator_pid: int = ready["coordinator"]["pid"]
        self._channel = grpc.insecure_channel(self.address)
        self._ranks: list[dict[str, Any]] = ready["ranks"]

    def kill(self, rank: int) -> None:
        """SIGKILL for one rank; `wait_complete` tells when another has taken its place."""
        pid = next(each["pid"] for each in self._ranks if each["rank"] == rank)
        os.kill(pid, signal.SIGKILL)

    def wait_running(self) -> None:
        """Until a step runs."""
        self._wait_steps(lambda running: running > 0)

    def wait_steps(self, count: int) -> None:
        """Until so many steps run at once."""
        self._wait_steps(lambda running: running == count)

    def wait_idle(self) -> None:
        """Until no step runs."""
        self._wait_steps(lambda running: running == 0)

    def store_bytes(self) -> int:
        """What the ranks keep for backward passes."""
        return sum(rank.store_bytes for rank in self._status().ranks)

    def _wait_steps(self, holds: Callable[[int], bool]) -> None:
        deadline_at = time.monotonic() + READY_SECONDS
        while not holds(self._status().steps_running):
            if time.monotonic() > deadline_at:
                raise TimeoutError("steps do not start or end")

    def _status(self) -> coordinator_pb2.GetStatusResponse:
        call = self._channel.unary_unary(
            "/ulysses.v1.CoordinatorService/GetStatus",
            coordinator_pb2.GetStatusRequest.SerializeToString,
            coordinator_pb2.GetStatusResponse.FromString,
        )
        status: coordinator_pb2.GetStatusResponse = call(coordinator_pb2.GetStatusRequest(), timeout=READY_SECONDS)
        return status

    def wait_complete(self) -> None:
        """After a kill: until every rank is taken again."""
        complete = True
        while complete:
            complete = self._next_epoch()
        while not complete:
            complete = self._next_epoch()

    def close(self) -> None:
        self._channel.close()
        self._process.terminate()
        self._process.wait(READY_SECONDS)
        self._reader.join(READY_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _next_epoch(self) -> bool:
        while True:
            line = self._next()
            if line.get("event") == "epoch":
                self._ranks = line.get("ranks", [])
                return line.get("complete") is True

    def _next(self) -> dict[str, Any]:
        line = self._lines.get(timeout=READY_SECONDS)
        if line is None:
            raise RuntimeError("ulysses up ended")
        return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)


@contextmanager
def running_cluster(cp_size: int, *flags: str) -> Iterator[TestCluster]:
    cluster = TestCluster(cp_size, *flags)
    try:
        yield cluster
    finally:
        cluster.close()
