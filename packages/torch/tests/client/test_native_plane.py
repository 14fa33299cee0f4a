"""What the native plane promises Python: its memory, its threads, the GIL and Ctrl-C. No rank answers here."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if sys.version_info < (3, 11):
    pytest.skip("ulysses_native is for Python 3.11 and newer", allow_module_level=True)

from ulysses_native import Plane, PlaneError, Step

from .silent_peer import silent_peer

RANK = ("rank", 0)
PARTY = "owner/0/job/session"
#: Whoever waits so long fails.
FOREVER = 60.0


@pytest.fixture
def plane() -> Iterator[Plane]:
    plane = Plane("owner 0")
    yield plane
    plane.close()


def register(plane: Plane, rows: Any, call: int = 0) -> Step:
    """A step that waits for rows of one segment."""
    key = ("job", "session", call, "forward", 0)
    return plane.register_step(key, 1, 0, [(RANK, "out", [rows])], [(RANK, "rank/0/member")], 0)


def expect_interrupted(wait: Callable[[], object]) -> None:
    """That Ctrl-C ends a wait, which began before."""
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        wait()
    timer.join()


def test_others_run_while_a_step_waits(plane: Plane) -> None:
    step = register(plane, bytearray_rows(bytearray(64)))
    assert step.wait(FOREVER) == ("sent",)
    heard: list[object] = []
    waiting = threading.Thread(target=lambda: heard.append(step.wait(FOREVER)))
    waiting.start()
    # Were the GIL held, nothing here would run before it is over.
    step.wake()
    waiting.join(5)
    assert heard == [None]


def test_others_run_while_a_link_is_dialled(plane: Plane) -> None:
    with silent_peer() as address:
        plane.dial("rank/0/member", address, PARTY, FOREVER)
        failures: list[PlaneError] = []

        def wait() -> None:
            with pytest.raises(PlaneError) as failed:
                plane.wait_connected("rank/0/member", FOREVER)
            failures.append(failed.value)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert plane.link_state("rank/0/member") == "dialling"
        plane.keep_links([])
        waiting.join(5)
        assert [failure.args[0] for failure in failures] == ["PEER_LOST"]


def test_a_wait_ends_at_its_limit(plane: Plane) -> None:
    step = register(plane, bytearray_rows(bytearray(64)))
    assert step.wait(FOREVER) == ("sent",)
    assert step.wait(0.01) is None
    with silent_peer() as address:
        plane.dial("rank/0/member", address, PARTY, FOREVER)
        with pytest.raises(PlaneError) as late:
            plane.wait_connected("rank/0/member", 0.01)
        assert late.value.args[0] == "DEADLINE"


def test_ctrl_c_ends_every_wait(plane: Plane) -> None:
    step = register(plane, bytearray_rows(bytearray(64)))
    assert step.wait(FOREVER) == ("sent",)
    expect_interrupted(lambda: step.wait(FOREVER))
    with silent_peer() as address:
        plane.dial("rank/0/member", address, PARTY, FOREVER)
        expect_interrupted(lambda: plane.wait_connected("rank/0/member", FOREVER))


def test_close_ends_waits_threads_and_sockets() -> None:
    before = tasks(), sockets()
    plane = Plane("owner 0")
    memory = bytearray(64)
    step = register(plane, bytearray_rows(memory))
    assert step.wait(FOREVER) == ("sent",)
    assert "ulysses-plane" in tasks().values()
    failures: list[PlaneError] = []

    def wait() -> None:
        with pytest.raises(PlaneError) as failed:
            step.wait(FOREVER)
        failures.append(failed.value)

    with silent_peer() as address:
        plane.dial("rank/0/member", address, PARTY, FOREVER)
        waiting = threading.Thread(target=wait)
        waiting.start()
        plane.close()
        waiting.join(5)
    assert [failure.args[0] for failure in failures] == ["CANCELLED"]
    # Those of the plane are gone already; the kernel may still be clearing up the thread that waited.
    assert "ulysses-plane" not in tasks().values()
    assert sockets() == before[1]
    deadline_at = time.monotonic() + 5
    while not tasks().keys() <= before[0].keys():
        assert time.monotonic() < deadline_at, tasks()
    memory.append(0)
    plane.close()
    step.close()
    with pytest.raises(PlaneError, match="closed"):
        register(plane, bytearray_rows(bytearray(64)))


def test_memory_is_held_until_its_step_is_closed(plane: Plane) -> None:
    memory = bytearray(64)
    step = register(plane, bytearray_rows(memory))
    with pytest.raises(BufferError):
        memory.append(0)
    step.close()
    memory.append(0)
    step.close()
    with pytest.raises(PlaneError, match="closed"):
        step.wait(FOREVER)


def test_memory_of_a_step_that_was_dropped_is_let_go(plane: Plane) -> None:
    memory = bytearray(64)
    step = register(plane, bytearray_rows(memory))
    del step
    assert plane.counters()["steps"] == 0
    # The next call releases it.
    register(plane, bytearray_rows(bytearray(64)), call=1).close()
    memory.append(0)


def test_sending_on_a_link_that_is_not_up_fails_the_step(plane: Plane) -> None:
    key = ("job", "session", 0, "forward", 0)
    step = plane.register_step(key, 1, 0, [], [(RANK, "rank/0/member")], 64)
    assert step.wait(FOREVER) == ("received",)
    step.send([(RANK, "q", 0, np.zeros((4, 16), np.uint8), 0, 4)])
    event = step.wait(FOREVER)
    assert event is not None
    assert event[:2] == ("failed", "PEER_LOST")


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        (np.zeros(64, np.uint8), "rows.ndim"),
        (np.zeros((4, 16), np.float32), "rows.itemsize"),
        (np.zeros((4, 32), np.uint8)[:, ::2], r"rows.strides\[1\]"),
        (np.zeros((4, 16), np.uint8)[::-1], r"rows.strides\[0\]"),
        (np.broadcast_to(np.zeros((1, 16), np.uint8), (4, 16)), r"rows.strides\[0\]"),
        (np.frombuffer(bytes(64), np.uint8).reshape(4, 16), "rows.readonly"),
    ],
)
def test_rows_that_cannot_be_placed_are_refused_by_name(plane: Plane, rows: np.ndarray, field: str) -> None:
    with pytest.raises(PlaneError, match=field) as refused:
        register(plane, rows)
    assert refused.value.args[0] == "SHAPE_MISMATCH"


def test_a_step_is_registered_once(plane: Plane) -> None:
    step = register(plane, bytearray_rows(bytearray(64)))
    with pytest.raises(PlaneError, match="registered already"):
        register(plane, bytearray_rows(bytearray(64)))
    assert step.wait(FOREVER) == ("sent",)


def bytearray_rows(memory: bytearray) -> memoryview:
    """[4, 16] of memory that refuses to be resized while somebody holds it."""
    return memoryview(memory).cast("B", (4, 16))


def tasks() -> dict[str, str]:
    """Threads of this process, native ones too, and their names."""
    names = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            names[task.name] = (task / "comm").read_text().strip()
    return names


def sockets() -> int:
    return sum(target.startswith("socket:") for target in map(_target, Path("/proc/self/fd").iterdir()))


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        # The descriptor of the listing itself.
        return ""
