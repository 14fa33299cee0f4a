"""Training as trainers do it: losses follow local attention's."""

import shutil
from collections.abc import Iterator
from inspect import get_annotations

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor_config

from tests.cluster import TestCluster
from ulysses_client.exchange.data_path import DataPathName
from ulysses_torch import Cluster, UlyssesContextAttention, connect, ops

from .model import Model, batches, train
from .parity import sdpa

# Odd, shorter than cp_size, growing and shrinking.
LENGTHS = [127, 64, 2, 1, 91, 200, 33, 127, 5, 150]


@pytest.fixture(scope="module")
def connection(cluster: TestCluster) -> Iterator[Cluster]:
    with connect(cluster.address) as connected:
        yield connected


@pytest.fixture
def attention(connection: Cluster) -> UlyssesContextAttention:
    return UlyssesContextAttention(None, connection, causal=True)


def test_ten_steps_follow_local_attention(cluster: TestCluster, data_path: DataPathName) -> None:
    data = batches(LENGTHS)
    with connect(cluster.address) as connection:
        assert connection.data_path == data_path
        follow_local_attention(UlyssesContextAttention(None, connection, causal=True), data)


def follow_local_attention(attention: UlyssesContextAttention, data: list[Tensor]) -> None:
    model = Model(attention)
    losses = train(model, data)
    assert losses == pytest.approx(train(Model(sdpa), data), rel=5e-5)
    assert losses[-1] < losses[0]
    model.eval()
    with torch.no_grad():
        reference = Model(sdpa)
        reference.load_state_dict(model.state_dict())
        evaluation = batches([127], batch=1)[0]
        assert model(evaluation).item() == pytest.approx(reference(evaluation).item(), rel=5e-5)


@pytest.mark.parametrize("kind", ["reentrant", "non-reentrant"])
def test_activation_checkpointing_changes_nothing_but_memory(attention: UlyssesContextAttention, kind: str) -> None:
    data = batches(LENGTHS[:4])
    assert train(Model(attention, kind), data) == train(Model(attention), data)


def test_checkpointed_layers_keep_one_forward_at_a_time(mortal: TestCluster) -> None:
    data = batches([64])[0]
    with connect(mortal.address) as connected:
        attention = UlyssesContextAttention(None, connected, causal=True)
        Model(attention)(data)
        plain = Model(attention)
        loss = plain(data)
        kept = mortal.store_bytes()
        del loss
        loss = Model(attention, "non-reentrant")(data)
        assert kept > 0
        for _ in range(1000):
            if mortal.store_bytes() == 0:
                break
        assert mortal.store_bytes() == 0
        loss.backward()


def test_gradients_accumulate_over_batches(attention: UlyssesContextAttention) -> None:
    data = batches(LENGTHS[:6])
    assert train(Model(attention), data, accumulate=3) == pytest.approx(
        train(Model(sdpa), data, accumulate=3), rel=5e-5
    )


class Autocast(nn.Module):
    """A model whose forward runs in bfloat16, as trainers do it: around many steps, the weights of the first would stay
    in autocast's cache.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = self.model(tokens)
        return loss


def test_bf16_autocast_follows_local_attention(attention: UlyssesContextAttention) -> None:
    data = batches(LENGTHS)
    dtypes = set()

    def seen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = attention(q.float(), k, v)
        dtypes.add(out.dtype)
        return out

    losses = train(Autocast(Model(seen)), data)
    assert losses == pytest.approx(train(Autocast(Model(sdpa)), data), rel=2e-2)
    assert losses[-1] < losses[0] - 0.5
    assert dtypes == {torch.bfloat16}


def test_bf16_gradients_are_as_near_to_float32_as_local_attentions(attention: UlyssesContextAttention) -> None:
    (tokens,) = batches([127])

    def gradients(model: nn.Module) -> list[Tensor]:
        return list(torch.autograd.grad(model(tokens), list(model.parameters())))

    exact, peers, ours = map(gradients, (Model(sdpa), Autocast(Model(sdpa)), Autocast(Model(attention))))
    for (name, _), want, peer, got in zip(Model(sdpa).named_parameters(), exact, peers, ours, strict=True):
        allowed = 2 * (peer - want).norm() + 1e-3 * want.norm()
        assert (got - want).norm() <= allowed, name


def test_the_surrounding_model_compiles(attention: UlyssesContextAttention) -> None:
    data = batches([127, 64, 93])
    compiled = torch.compile(Model(attention), backend="aot_eager", fullgraph=True)
    assert train(compiled, data) == pytest.approx(train(Model(sdpa), data), rel=5e-5)


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles C++")
def test_the_surrounding_model_compiles_to_machine_code(
    attention: UlyssesContextAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers would import PyTorch first.
    monkeypatch.setattr(inductor_config, "compile_threads", 1)
    data = batches([64, 64])
    compiled = torch.compile(Model(attention), backend="inductor", fullgraph=True)
    assert train(compiled, data) == pytest.approx(train(Model(sdpa), data), rel=5e-5)


def test_a_compiled_model_keeps_nothing_without_gradients(mortal: TestCluster) -> None:
    with connect(mortal.address) as connected:
        compiled = torch.compile(Model(UlyssesContextAttention(None, connected, causal=True)), backend="aot_eager")
        data = batches([40])[0]
        with torch.no_grad():
            loss = compiled(data)
        assert mortal.store_bytes() == 0
        assert loss.item() == pytest.approx(Model(sdpa)(data).item(), rel=5e-5)


def test_the_operators_are_annotated_with_types() -> None:
    """PyTorch 2.4, the oldest that is promised, infers no schema from strings, as newer ones do."""
    for operator in (ops.attention, ops.finish_attention, ops.attention_backward):
        annotations = get_annotations(operator._init_fn)
        assert "return" in annotations
        assert not [name for name, annotation in annotations.items() if isinstance(annotation, str)]


def test_the_operators_are_what_they_say_to_the_compiler(connection: Cluster) -> None:
    attention = UlyssesContextAttention(None, connection, layout="bshd", causal=True)
    tensors = [torch.randn(2, 9, heads, 8, requires_grad=True) for heads in (4, 2, 2)]
    arguments = (
        *tensors, None, None, None, None, None, None,
        attention._runtime_number, "bshd", None, 0, 0.25, None, None, None, "dynamic", None, "store", None, None, False,
    )  # fmt: skip
    torch.library.opcheck(
        torch.ops.ulysses.attention.default,
        arguments,
        # Handles differ from call to call.
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
