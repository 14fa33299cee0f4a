"""Several calls in flight from one model."""

import gc
import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.cluster import TestCluster
from ulysses_torch import (
    CancelledError,
    ShapeMismatchError,
    UlyssesContextAttention,
    UnsupportedError,
    connect,
)

from .parity import random_inputs, results


def until(holds: Callable[[], bool]) -> None:
    deadline_at = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_at


@pytest.mark.usefixtures("data_path")
def test_two_calls_are_in_flight_at_once_and_give_the_bits_of_calls_one_by_one(cluster: TestCluster) -> None:
    """Owner 1 begins neither call before both of owner 0's run."""
    first, second = (random_inputs((60, 1, 5, 16), 1, torch.float32, seed) for seed in range(2))
    with (
        connect(cluster.address, session="in-flight", owner_count=2) as connection,
        connect(cluster.address, session="in-flight", owner_index=1, owner_count=2) as other,
        connect(cluster.address) as alone,
    ):
        want = [results(UlyssesContextAttention(None, alone, causal=True), *inputs) for inputs in (first, second)]
        leaves, pending = [], []
        for number, owner in enumerate((connection, other)):
            shards = [[each[:40] if number == 0 else each[40:] for each in inputs] for inputs in (first, second)]
            attention = UlyssesContextAttention(None, owner, causal=True)
            for q, k, v, _ in shards:
                qkv = [each.clone().requires_grad_() for each in (q, k, v)]
                leaves.append(qkv)
                pending.append(attention.start(*qkv))
            if number == 0:
                cluster.wait_steps(2)
                assert not any(each.done for each in pending)
        outs = [each.wait() for each in pending]
        assert outs[0] is pending[0].wait()

        def backward(owner: int) -> None:
            for call, inputs in enumerate((first, second)):
                dout = inputs[3][:40] if owner == 0 else inputs[3][40:]
                outs[2 * owner + call].backward(dout)

        threads = [threading.Thread(target=backward, args=(owner,)) for owner in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for call in range(2):
        mine, others = leaves[call], leaves[2 + call]
        got = [torch.cat([outs[call], outs[2 + call]])]
        got += [torch.cat([a.grad, b.grad]) for a, b in zip(mine, others, strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(got, want[call], strict=True))


def test_what_is_begun_without_gradients_has_none(mortal: TestCluster) -> None:
    q, k, v, dout = random_inputs((30, 1, 4, 16), 4, torch.float32)
    q.requires_grad_()
    with connect(mortal.address) as connection:
        attention = UlyssesContextAttention(None, connection)
        with torch.no_grad():
            inference = attention.start(q, k, v)
            assert not inference.wait().requires_grad
        assert not inference.wait().requires_grad
        training = attention.start(q, k, v)
        with torch.no_grad():
            out = training.wait()
        out.backward(dout)
        assert torch.equal(out, attention(q, k, v))


def test_a_call_that_nobody_waits_for_ends_and_keeps_nothing(mortal: TestCluster) -> None:
    q, k, v, _ = random_inputs((64, 1, 4, 16), 4, torch.float32)
    with (
        connect(mortal.address) as connection,
        connect(mortal.address, session="dropped", owner_count=2) as waiting,
    ):
        pending = [UlyssesContextAttention(None, connection).start(q.requires_grad_(), k, v)]
        until(lambda: pending[0].done)
        assert mortal.store_bytes() > 0
        pending.append(UlyssesContextAttention(None, waiting).start(q, k, v))
        mortal.wait_running()
        pending.clear()
        gc.collect()
        until(lambda: mortal.store_bytes() == 0)
        mortal.wait_idle()


def test_a_failure_is_raised_by_the_wait_and_close_ends_what_runs(cluster: TestCluster) -> None:
    q, k, v, _ = random_inputs((8, 1, 2, 16), 2, torch.float32)
    before = set(threading.enumerate())
    with connect(cluster.address) as connection, connect(cluster.address, session="closing", owner_count=2) as waiting:
        wrong = UlyssesContextAttention(None, connection).start(q[:, :, :1], k, v)
        for _ in range(2):
            with pytest.raises(ShapeMismatchError) as refused:
                wrong.wait()
            assert refused.value.field == "kvHeads"
        with pytest.raises(ShapeMismatchError):
            UlyssesContextAttention(None, connection).start(q[0], k, v)
        endless = UlyssesContextAttention(None, waiting).start(q, k, v)
        cluster.wait_running()
        waiting.close()
        with pytest.raises(CancelledError):
            endless.wait()
    assert set(threading.enumerate()) <= before


def test_a_core_attention_of_ones_own_cannot_be_begun(cluster: TestCluster) -> None:
    def core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q

    with connect(cluster.address) as connection, pytest.raises(UnsupportedError) as refused:
        UlyssesContextAttention(core, connection).start(*random_inputs((8, 1, 2, 16), 2, torch.float32)[:3])
    assert refused.value.field == "core_attention"
