"""A core attention of the trainer's own, between an exchange and its reverse, on a cluster of 3 ranks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.cluster import TestCluster
from ulysses_torch import (
    Cluster,
    DefaultGatherSizeCalculator,
    GatherSizeCalculator,
    ShapeMismatchError,
    UlyssesContextAttention,
    UnsupportedError,
    connect,
)

from .owners import owners
from .parity import FLOOR, local_attention, random_inputs, results, sdpa
from .processes import run_trainers

OWNERS = 3


class Gated(nn.Module):
    """Attention with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 16))
        self.unused = nn.Parameter(torch.zeros(3))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sdpa(q * self.gain, k, v) * self.gain.sin()


def expect_close(got: tuple[Tensor, ...], inputs: tuple[Tensor, ...], layout: str = "sbhd") -> None:
    """No further from float64 than twice PyTorch's own attention on the same inputs."""
    local = local_attention(layout, causal=True)
    exact = results(local, *(tensor.double() for tensor in inputs))
    own = results(local, *inputs)
    for name, want, peer, result in zip(("out", "dq", "dk", "dv"), exact, own, got, strict=True):
        assert result.dtype == inputs[0].dtype
        assert (result.double() - want).abs().max() <= 2 * (peer.double() - want).abs().max() + FLOOR, name


@pytest.mark.usefixtures("data_path")
@pytest.mark.parametrize(
    ("splits", "heads", "kv_heads", "dtype"),
    [
        ([40, 1, 22], 3, 3, torch.float32),
        # Owner 1 reads both KV heads, once and twice: it gets one per query head.
        ([21, 0, 20], 6, 2, torch.float32),
        ([20, 21, 22], 8, 2, torch.float32),
        ([5, 60, 7], 5, 1, torch.bfloat16),
        ([11, 12, 13], 7, 7, torch.float16),
        # Owner 2 has no head.
        ([30, 0, 31], 2, 1, torch.float32),
        ([1, 0, 0], 1, 1, torch.float32),
    ],
)
def test_out_and_gradients_are_local_attentions(
    cluster: TestCluster, splits: list[int], heads: int, kv_heads: int, dtype: torch.dtype
) -> None:
    inputs = random_inputs((sum(splits), 2, heads, 16), kv_heads, dtype)
    shards = list(zip(*(tensor.split(splits) for tensor in inputs), strict=True))
    seen: list[tuple[int, int]] = []

    def core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((q.shape[2], k.shape[2]))
        return sdpa(q, k, v)

    def run(connection: Cluster, owner: int) -> tuple[Tensor, ...]:
        attention = UlyssesContextAttention(core, connection)
        first = results(attention, *shards[owner])
        assert all(torch.equal(a, b) for a, b in zip(results(attention, *shards[owner]), first, strict=True))
        return first

    parts = owners(cluster, f"core-{splits}-{heads}-{kv_heads}", run, OWNERS)
    expect_close(tuple(torch.cat(each) for each in zip(*parts, strict=True)), inputs)
    assert sum(q for q, _ in seen) == 2 * heads
    assert all(q % k == 0 for q, k in seen)


def test_layouts_and_gather_sizes_of_ones_own(cluster: TestCluster) -> None:
    class FromKwargs(GatherSizeCalculator):
        def calculate(self, *args: object, **kwargs: object) -> int | None:
            size = kwargs.get("gather_size")
            return size if isinstance(size, int) else None

    inputs = random_inputs((2, 30, 4, 8), 2, torch.float32)
    shards = list(zip(*(tensor.split(10, dim=1) for tensor in inputs), strict=True))

    def core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Heads joined, as Megatron's cores return them."""
        assert q.shape[:2] == (2, 17)
        return local_attention("bshd", causal=True)(q, k, v).flatten(2)

    def run(connection: Cluster, owner: int) -> tuple[Tensor, ...]:
        attention = UlyssesContextAttention(core, connection, layout="bshd", gather_size_calculator=FromKwargs())

        def joined(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = attention(q, k, v, gather_size=17)
            assert out.shape == (2, 10, 4 * 8)
            return out.unflatten(2, (4, 8))

        return results(joined, *shards[owner])

    whole = [torch.cat(each, dim=1) for each in zip(*owners(cluster, "layouts", run, OWNERS), strict=True)]
    expect_close(tuple(each[:, :17] for each in whole), tuple(each[:, :17] for each in inputs), "bshd")
    assert not any(each[:, 17:].any() for each in whole)


def test_one_owner_has_everything_and_exchanges_nothing(cluster: TestCluster) -> None:
    inputs = random_inputs((41, 2, 6, 16), 2, torch.float32)
    with connect(cluster.address) as connection:
        attention = UlyssesContextAttention(sdpa, connection)
        for got, want in zip(results(attention, *inputs), results(sdpa, *inputs), strict=True):
            assert torch.equal(got, want)
        lengths = torch.tensor([30, 12])
        got = results(lambda q, k, v: attention(q, k, v, attention_mask_lengths=lengths), *inputs)
        for result, want in zip(got, results(sdpa, *(each[:30] for each in inputs)), strict=True):
            assert torch.equal(result[:30], want)
            assert not result[30:].any()
        with pytest.raises(ShapeMismatchError) as refused:
            attention(*inputs[:3], attention_mask_lengths=torch.tensor([42, 3]))
        assert refused.value.field == "gather_size"


@pytest.mark.parametrize("count", [1, OWNERS])
def test_the_extent_of_a_mask_is_that_of_the_keys(cluster: TestCluster, count: int) -> None:
    """Other queries than these are all exchanged, and keys beyond it are not."""
    q, _, _, dout = random_inputs((30, 1, 4, 16), 2, torch.float32)
    _, k, v, _ = random_inputs((12, 1, 4, 16), 2, torch.float32, seed=1)
    mask = torch.ones(1, 10, dtype=torch.bool)

    def core(q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor) -> Tensor:
        assert (len(q), len(k), attention_mask.shape[-1]) == (30, 10, 10)
        return local_attention("sbhd")(q, k, v)

    def run(connection: Cluster, owner: int) -> tuple[Tensor, ...]:
        attention = UlyssesContextAttention(core, connection)
        shards = (each.tensor_split(count)[owner] for each in (q, k, v, dout))
        return results(lambda q, k, v: attention(q, k, v, mask), *shards)

    parts = owners(cluster, f"extent-{count}", run, count)
    want = results(local_attention("sbhd"), q, k[:10], v[:10], dout)
    for got, expected in zip(map(torch.cat, zip(*parts, strict=True)), want, strict=True):
        torch.testing.assert_close(got[: len(expected)], expected, rtol=1e-5, atol=1e-5)
        assert not got[len(expected) :].any()


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_inside_the_core_learn_also_when_nothing_else_does(cluster: TestCluster, frozen: bool) -> None:
    splits = [9, 8, 8]
    q, k, v, dout = random_inputs((25, 1, 2, 16), 1, torch.float32)
    # Owner 2 has no head, and goes both ways all the same.
    shards = list(zip(*(tensor.split(splits) for tensor in (q, k, v, dout)), strict=True))

    def run(connection: Cluster, owner: int) -> Tensor | None:
        core = Gated()
        leaves = [each.detach().clone().requires_grad_(not frozen) for each in shards[owner][:3]]
        UlyssesContextAttention(core, connection)(*leaves).backward(shards[owner][3])
        assert core.unused.grad is None
        assert all((leaf.grad is None) == frozen for leaf in leaves)
        return core.gain.grad

    first, second, none = owners(cluster, f"parameters-{frozen}", run, OWNERS)
    assert none is None
    local = Gated()
    local(q, k, v).backward(dout)
    assert local.gain.grad is not None
    torch.testing.assert_close(first + second, local.gain.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["reentrant", "non-reentrant", "autocast", "retained"])
def test_training_as_trainers_do_it_gives_the_same_gradients(cluster: TestCluster, kind: str) -> None:
    """The last node of what is checkpointed is the attention, and owner 2 has no head."""
    splits = [9, 8, 8]
    x, dout = torch.randn(25, 1, 32, generator=torch.Generator().manual_seed(3)), torch.ones(25, 1, 2, 16)

    class Layer(nn.Module):
        def __init__(self, attention: Callable[..., Tensor]) -> None:
            super().__init__()
            self.qkv = nn.Linear(32, 64)
            # Owners are threads here, and share the process's own generator.
            for number, parameter in enumerate(self.parameters()):
                nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(number))
            self.attention = attention

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (4, 16)).split([2, 1, 1], dim=2)
            return self.attention(q, k, v)

    def gradients(attention: Callable[..., Tensor], x: Tensor, dout: Tensor, kind: str) -> list[Tensor]:
        layer: Any = Layer(attention)
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
            if "reentrant" in kind:
                out = checkpoint(layer, x.requires_grad_(), use_reentrant=kind == "reentrant")
            else:
                out = layer(x)
        assert out.dtype == (torch.bfloat16 if kind == "autocast" else torch.float32)
        if kind == "retained":
            out.backward(dout, retain_graph=True)
            layer.zero_grad()
        out.backward(dout.to(out.dtype))
        return [each.grad for each in layer.parameters()]

    def run(connection: Cluster, owner: int) -> list[Tensor]:
        attention = UlyssesContextAttention(sdpa, connection)
        return gradients(attention, x.split(splits)[owner].clone(), dout.split(splits)[owner], kind)

    parts = owners(cluster, f"training-{kind}", run, OWNERS)
    want = gradients(sdpa, x.clone(), dout, "autocast" if kind == "autocast" else "plain")
    bound = 3e-2 if kind == "autocast" else 1e-5
    for got, expected in zip(zip(*parts, strict=True), want, strict=True):
        torch.testing.assert_close(sum(got), expected, rtol=bound, atol=bound * float(expected.abs().max()))


def test_a_whole_graph_is_refused_where_the_exchange_breaks_it(cluster: TestCluster) -> None:
    with connect(cluster.address) as connection:
        attention = UlyssesContextAttention(sdpa, connection)
        compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
        with pytest.raises(Exception, match="_around_core"):
            compiled(*random_inputs((4, 1, 3, 8), 3, torch.float32)[:3])


def test_without_gradients_nothing_is_kept_for_them(cluster: TestCluster) -> None:
    q, k, v, _ = random_inputs((6, 1, 3, 8), 3, torch.float32)

    def run(connection: Cluster, owner: int) -> list[bool]:
        plain, inference = (
            UlyssesContextAttention(sdpa, connection),
            UlyssesContextAttention(sdpa, connection, keep="none"),
        )
        leaf = q.clone().requires_grad_()
        with torch.no_grad():
            outs = [plain(leaf, k, v)]
        outs.append(inference(leaf, k, v))
        return [out.requires_grad for out in outs]

    assert owners(cluster, "inference", run, OWNERS) == [[False, False]] * OWNERS


def test_gradients_of_gradients_are_refused_by_name(cluster: TestCluster) -> None:
    q, k, v, dout = random_inputs((6, 1, 3, 8), 3, torch.float32)

    def run(connection: Cluster, owner: int) -> Exception:
        leaf, gradient = q.clone().requires_grad_(), dout.clone().requires_grad_()
        out = UlyssesContextAttention(sdpa, connection)(leaf, k, v)
        (dq,) = torch.autograd.grad(out, leaf, gradient, create_graph=True)
        with pytest.raises(UnsupportedError) as refused:
            torch.autograd.grad(dq.sum(), gradient)
        return refused.value

    assert {error.field for error in owners(cluster, "second-order", run, OWNERS)} == {"create_graph"}


def test_what_is_left_to_the_core_is_refused_by_name(cluster: TestCluster) -> None:
    with connect(cluster.address, session="alone", owner_count=OWNERS) as connection:
        for options in (
            {"causal": True},
            {"window_size": (3, 0)},
            {"softmax_scale": 0.5},
            {"strategy": "balanced"},
            {"keep": "recompute"},
            {"kv_cache_policy": "half"},
            {"kv_cache_budget_bytes": 1},
        ):
            with pytest.raises(UnsupportedError, match="core attention of your own") as refused:
                UlyssesContextAttention(sdpa, connection, **options)
            assert [refused.value.field] == list(options)
        aligned = UlyssesContextAttention(sdpa, connection, gather_size_calculator=DefaultGatherSizeCalculator())
        with pytest.raises(ShapeMismatchError, match="DynamicGatherSizeCalculator") as wrong:
            aligned(*random_inputs((4, 1, 4, 8), 4, torch.float32)[:3])
        assert wrong.value.field == "q_heads"
        with pytest.raises(ShapeMismatchError) as wrong:
            UlyssesContextAttention(sdpa, connection)(*random_inputs((4, 1, 4, 8), 3, torch.float32)[:3])
        assert wrong.value.field == "kv_heads"


def test_everything_else_in_the_call_reaches_the_core(cluster: TestCluster) -> None:
    seen: list[object] = []

    def core(q: Tensor, k: Tensor, v: Tensor, mask: object, *, flavour: str = "plain") -> Tensor:
        seen.append((mask, flavour))
        return q

    with connect(cluster.address) as connection:
        q, k, v, _ = random_inputs((4, 1, 3, 8), 3, torch.float32)
        attention = UlyssesContextAttention(core, connection)
        attention(q, k, v, None, flavour="ulysses")
        attention(q, k, v, None, attention_mask_lengths=torch.tensor([4]))
        assert seen == [(None, "ulysses"), (None, "plain")]
        with pytest.raises(TypeError):
            attention(q, k, v, None, flavor="misspelt")


PROGRAM = """
import sys
import torch, torch.distributed as dist
from torch.utils.checkpoint import checkpoint
from ulysses_torch import UlyssesContextAttention, DynamicGatherSizeCalculator
from tests.torch.parity import random_inputs, results, sdpa

dist.init_process_group("gloo")
rank = dist.get_rank()
attention = UlyssesContextAttention(sdpa, dist.group.WORLD, gather_size_calculator=DynamicGatherSizeCalculator())
around = lambda q, k, v: attention(q * 1, k * 1, v * 1) * 1
again = lambda q, k, v: checkpoint(around, q, k, v, use_reentrant=False)
others = [again, *(torch.compile(each, backend="aot_eager") for each in (around, again))]
for dtype in (torch.float32, torch.bfloat16):
    shards = [tensor.split([40, 1, 22])[rank] for tensor in random_inputs((63, 1, 5, 16), 1, dtype)]
    parts = results(attention, *shards)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(results(other, *shards), parts))
    torch.save(parts, f"{sys.argv[1]}/{dtype}-{rank}.pt")
dist.barrier()
dist.destroy_process_group()
"""


def test_a_process_group_is_all_that_it_takes_also_compiled_and_checkpointed(
    cluster: TestCluster, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run_trainers(program, OWNERS, str(tmp_path), ULYSSES_ADDRESS=cluster.address)
    for dtype in (torch.float32, torch.bfloat16):
        parts = [torch.load(tmp_path / f"{dtype}-{rank}.pt") for rank in range(OWNERS)]
        expect_close(tuple(map(torch.cat, zip(*parts, strict=True))), random_inputs((63, 1, 5, 16), 1, dtype))
