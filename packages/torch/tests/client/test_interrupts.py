"""Ctrl-C, a real one, in every wait of a program that holds two owners; and what a closed connection leaves behind.

Owner 1 is a thread that stops where the test says, so that owner 0, in the main thread, waits there for good.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cluster import TestCluster
from ulysses_client.attention_step import QkvShards, forward
from ulysses_client.call_limits import limits_from_now
from ulysses_client.call_thread import CallThread
from ulysses_client.cluster import connect
from ulysses_client.pending_call import side_by_side

from .test_exchange import inputs, step, view_of

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, threading
from functools import partial
import numpy as np
from tests.client.test_exchange import inputs, view_of
from ulysses_client.attention_step import QkvShards, forward, start_call
from ulysses_client.cluster import connect
from ulysses_client.errors import UlyssesError
from ulysses_client.pending_call import side_by_side
from ulysses_client.call_limits import limits_from_now
import ulysses_client.attention_step as attention_step

address, where = sys.argv[1:]
waits_in = {"plan": "planned", "forward": "wait", "backward": "wait", "threads": "wait"}[where]
main, over = threading.main_thread(), threading.Event()
owners = [connect(address, session="ctrl-c-" + where, owner_index=i, owner_count=2) for i in range(2)]
q, k, v, dout = (array.view(np.uint8) for array in inputs(64))
qkv = QkvShards(q, k, v)
gradients = lambda: [np.zeros_like(array) for array in (q, k, v)]


def when_owner_0_waits():
    while True:
        frame = sys._current_frames().get(main.ident)
        while frame is not None:
            if frame.f_code.co_name == waits_in and "ulysses_client" in frame.f_code.co_filename:
                return
            frame = frame.f_back


def stop(*_):
    when_owner_0_waits()
    print("waits", flush=True)
    over.wait()
    return []


def owner_1():
    try:
        if where in ("plan", "threads"):
            stop()
            return
        if where == "forward":
            attention_step.forward_sends = of_owner_1(attention_step.forward_sends)
        stored = forward(owners[1], view_of(64), qkv, np.zeros_like(q))
        attention_step.backward_sends = of_owner_1(attention_step.backward_sends)
        stored.backward(qkv, dout, *gradients())
    except UlyssesError:
        pass


def begun(started, limits):
    return forward(owners[0], view_of(64), qkv, np.zeros_like(q), started._replace(limits=limits))


def of_owner_1(sends):
    return lambda exchange, *rows: stop() if exchange.owner == 1 else sends(exchange, *rows)


other = threading.Thread(target=owner_1)
other.start()
try:
    if where == "threads":
        started = [start_call(owners[0]) for _ in range(3)]
        calls = [partial(begun, each) for each in started]
        side_by_side(owners[0], limits_from_now(60_000), calls)
    stored = forward(owners[0], view_of(64), qkv, np.zeros_like(q))
    stored.backward(qkv, dout, *gradients())
except KeyboardInterrupt:
    over.set()
    for owner in owners:
        owner.close()
    other.join()
    print("interrupted", [thread.name for thread in threading.enumerate()], flush=True)
"""


@pytest.mark.usefixtures("data_path")
@pytest.mark.parametrize("where", ["plan", "forward", "backward", "threads"])
def test_ctrl_c_ends_every_wait_and_leaves_no_thread(cluster: TestCluster, where: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, cluster.address, where],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted ['MainThread']\n"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    cluster.wait_idle()


def interrupt_start(monkeypatch: pytest.MonkeyPatch, name: str) -> list[threading.Timer]:
    """Of the first such thread, as Ctrl-C does it: where it waits for a thread that the system has not begun yet.

    Returns who begins it in the system's place, which may still be there when the begun thread has ended.
    """
    start, begun = CallThread.start, threading.Event()
    systems: list[threading.Timer] = []

    def late(thread: CallThread) -> None:
        if thread.name != name or begun.is_set():
            start(thread)
            return
        begun.set()
        thread._asked_for = True
        systems.append(threading.Timer(0.1, start, (thread,)))
        systems[0].start()
        raise KeyboardInterrupt

    monkeypatch.setattr(CallThread, "start", late)
    return systems


def test_ctrl_c_while_a_call_starts_ends_the_call(cluster: TestCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with connect(cluster.address) as connection:
        systems = interrupt_start(monkeypatch, "ulysses-call")
        with pytest.raises(KeyboardInterrupt):
            side_by_side(connection, limits_from_now(60_000), [lambda limits: limits.cancellation.pause(60)])
        systems[0].join()
        assert set(threading.enumerate()) <= before


@pytest.mark.usefixtures("data_path")
@pytest.mark.parametrize("name", ["ulysses-step", "ulysses-link"])
def test_ctrl_c_while_a_thread_starts_leaves_none_either(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = set(threading.enumerate())
    q, k, v, _ = (array.view(np.uint8) for array in inputs(40))
    with connect(cluster.address) as connection:
        whole = step(connection, view_of(40), *inputs(40))
    with connect(cluster.address) as connection:
        systems = interrupt_start(monkeypatch, name)
        if connection.data_path == "native" and name == "ulysses-link":
            pytest.skip("its links have no threads of Python's")
        with pytest.raises(KeyboardInterrupt):
            forward(connection, view_of(40), QkvShards(q, k, v), np.zeros_like(q))
        cluster.wait_idle()
        for got, want in zip(step(connection, view_of(40), *inputs(40)), whole, strict=True):
            assert np.array_equal(got, want)
    systems[0].join()
    assert set(threading.enumerate()) <= before


def open_sockets() -> int:
    """Not gRPC's pollers, which it keeps for later connections."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return count


@pytest.mark.usefixtures("data_path")
def test_connections_that_are_closed_leave_no_thread_and_no_stream(cluster: TestCluster) -> None:
    def use_and_close() -> None:
        with (
            connect(cluster.address) as alone,
            connect(cluster.address, session="left", owner_count=2, deadline_ms=300) as waiting,
        ):
            step(alone, view_of(40), *inputs(40))
            q, k, v, _ = (array.view(np.uint8) for array in inputs(4))
            with pytest.raises(Exception, match="DEADLINE"):
                forward(waiting, view_of(4), QkvShards(q, k, v), np.zeros_like(q))

    threads, sockets = set(threading.enumerate()), open_sockets()
    for _ in range(3):
        use_and_close()
    assert set(threading.enumerate()) <= threads
    # Sockets are closed by a thread of gRPC's own.
    deadline_at = time.monotonic() + 5
    while open_sockets() > sockets:
        assert time.monotonic() < deadline_at, f"{open_sockets()} sockets, {sockets} before"
