"""What fails around a core attention of the trainer's own: the core itself, and ranks under its exchanges."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.cluster import TestCluster, running_cluster
from ulysses_client import exchange_step
from ulysses_client.plan import ExchangeSpec
from ulysses_client.wire.convert import ExchangeView, Planned
from ulysses_torch import (
    Cluster,
    ShapeMismatchError,
    StepMismatchError,
    UlyssesContextAttention,
    UlyssesError,
)

from .owners import owners
from .parity import random_inputs, results, sdpa


@pytest.fixture(scope="module")
def clusters_of_all(mortal: TestCluster) -> Iterator[dict[int, TestCluster]]:
    """By how many ranks they have."""
    with running_cluster(4) as four:
        yield {2: mortal, 4: four}


@pytest.mark.parametrize(
    ("core", "error", "words"),
    [
        (lambda q, k, v: 1 / 0, ZeroDivisionError, "division by zero"),
        (lambda q, k, v: q[:3], ShapeMismatchError, "out.shape"),
        (lambda q, k, v: q.double(), ShapeMismatchError, "out.dtype"),
        (lambda q, k, v: None, ShapeMismatchError, 'out is "NoneType"'),
    ],
)
def test_a_core_that_fails_is_its_owners_error_and_the_others_are_told_at_once(
    cluster: TestCluster, core: Callable[..., Tensor], error: type[Exception], words: str
) -> None:
    inputs = random_inputs((4, 1, 3, 8), 3, torch.float32)[:3]

    def run(connection: Cluster, owner: int) -> Exception:
        attention = UlyssesContextAttention(core if owner == 1 else sdpa, connection)
        with pytest.raises(Exception) as refused:  # noqa: PT011 - which one is told apart below
            attention(*inputs)
        # The next call is of the same number on all owners.
        UlyssesContextAttention(sdpa, connection)(*inputs)
        return refused.value

    for owner, failure in enumerate(owners(cluster, f"failing-{words}", run, 3)):
        assert isinstance(failure, error if owner == 1 else StepMismatchError)
        assert words in str(failure).replace("\\", "")
        if isinstance(failure, StepMismatchError):
            assert (failure.field, failure.peer) == ("failure", "owner 1")


class FailingOnce(nn.Module):
    """Attention whose first backward fails."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = False

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def fail(gradient: Tensor) -> None:
            if not self.failed:
                self.failed = True
                raise ZeroDivisionError("no memory left")

        out = sdpa(q, k, v)
        if out.requires_grad:
            out.register_hook(fail)
        return out


@pytest.mark.parametrize("kind", ["plain", "reentrant", "non-reentrant"])
@pytest.mark.parametrize(("count", "failing"), [(2, 0), (2, 1), (4, 2)])
def test_a_core_that_fails_in_backward_is_its_owners_error_and_the_others_are_told_at_once(
    clusters_of_all: dict[int, TestCluster], count: int, failing: int, kind: str
) -> None:
    inputs = random_inputs((4, 1, 5, 8), 1, torch.float32)

    def run(connection: Cluster, owner: int) -> tuple[Exception, tuple[Tensor, ...], tuple[Tensor, ...]]:
        attention = UlyssesContextAttention(FailingOnce() if owner == failing else sdpa, connection)
        leaves = [each.clone().requires_grad_() for each in inputs[:3]]
        if kind == "plain":
            out = attention(*leaves)
        else:
            out = checkpoint(attention, *leaves, use_reentrant=kind == "reentrant")
        with pytest.raises((ZeroDivisionError, StepMismatchError)) as told:
            torch.autograd.backward(out, inputs[3], retain_graph=True)
        # The same backward may be tried again, and the next call is of the same number on all owners.
        torch.autograd.backward(out, inputs[3])
        again = tuple(leaf.grad for leaf in leaves if leaf.grad is not None)
        return told.value, again, results(attention, *inputs)[1:]

    session = f"failing-{count}-{failing}-{kind}"
    for owner, (error, again, other) in enumerate(owners(clusters_of_all[count], session, run, count)):
        if owner == failing:
            assert isinstance(error, ZeroDivisionError)
        else:
            assert isinstance(error, StepMismatchError)
            assert (error.field, error.peer) == ("failure", f"owner {failing}")
            assert "failed in backward" in error.message
        assert all(torch.equal(a, b) for a, b in zip(again, other, strict=True))


@pytest.mark.parametrize("killed", ["forward", "backward"])
def test_a_rank_killed_while_the_core_computes_does_not_change_a_bit(mortal: TestCluster, killed: str) -> None:
    inputs = random_inputs((50, 1, 5, 16), 1, torch.float32)
    shards = list(zip(*(tensor.split([30, 20]) for tensor in inputs), strict=True))
    heard: list[str] = []
    struck: list[str] = []
    replayed = {"deadline_ms": 60_000, "on_replay": lambda error, _: heard.append(error.code)}

    def kill() -> None:
        mortal.kill(1)
        struck.append(killed)

    class Killing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor) -> Tensor:
            if killed == "forward":
                kill()
            return q.clone()

        @staticmethod
        def backward(ctx: Any, dq: Tensor) -> Tensor:
            if killed == "backward":
                kill()
            return dq

    def run(kills: bool) -> list[tuple[Tensor, ...]]:
        def owner(connection: Cluster, index: int) -> tuple[Tensor, ...]:
            core = (lambda q, k, v: sdpa(Killing.apply(q), k, v)) if kills and index == 0 else sdpa
            return results(UlyssesContextAttention(core, connection), *shards[index])

        return owners(mortal, f"{killed}-{kills}", owner, 2, **replayed)

    alone = run(kills=False)
    assert not heard
    # An exchange that begins after the loss was noticed waits for the next epoch, and has nothing to replay.
    again = run(kills=True)
    assert struck == [killed]
    mortal.wait_complete()
    for got, want in zip(again, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("struck", ["q", "out", "dout", "dk"])
def test_a_rank_killed_in_an_exchange_does_not_change_a_bit(
    mortal: TestCluster, monkeypatch: pytest.MonkeyPatch, struck: str
) -> None:
    """It dies when the exchange was planned and owner 0's rows have yet to pass through it."""
    inputs = random_inputs((50, 1, 5, 16), 1, torch.bfloat16)
    shards = list(zip(*(tensor.split([30, 20]) for tensor in inputs), strict=True))
    heard: list[UlyssesError] = []
    killed = threading.Event()
    verified = exchange_step._verified
    replayed = {"deadline_ms": 60_000, "on_replay": lambda error, _: heard.append(error)}

    def killing(planned: Planned, view: ExchangeView, owner: int) -> ExchangeSpec:
        if owner == 0 and (view.purpose or "").startswith(f"{struck} of") and not killed.is_set():
            killed.set()
            mortal.kill(1)
        return verified(planned, view, owner)

    def run(connection: Cluster, owner: int) -> tuple[Tensor, ...]:
        return results(UlyssesContextAttention(sdpa, connection), *shards[owner])

    alone = owners(mortal, f"alone-{struck}", run, 2)
    monkeypatch.setattr(exchange_step, "_verified", killing)
    again = owners(mortal, f"struck-{struck}", run, 2, **replayed)
    assert killed.is_set()
    mortal.wait_complete()
    assert heard
    assert all(error.retryable for error in heard)
    for got, want in zip(again, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
