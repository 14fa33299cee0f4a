"""Hugging Face models train and evaluate through the cluster as they do with PyTorch's own attention."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)
from transformers.masking_utils import (
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from tests.cluster import TestCluster, running_cluster
from ulysses_torch import UnsupportedError, connect, register_transformers
from ulysses_torch.transformers import MaskBounds, mask_bounds

COMMON: dict[str, Any] = {"vocab_size": 256, "use_cache": False, "bos_token_id": None, "eos_token_id": None}
LLAMA = LlamaConfig(
    **COMMON, hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2
)
MISTRAL = MistralConfig(
    **COMMON, hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
    sliding_window=11,
)  # fmt: skip
GPT2 = GPT2Config(
    **COMMON, n_embd=60, n_layer=2, n_head=5, n_positions=256, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0
)
QWEN2 = Qwen2Config(
    **COMMON, hidden_size=28 * 8, intermediate_size=128, num_hidden_layers=2, num_attention_heads=28,
    num_key_value_heads=4,
)  # fmt: skip
BERT = BertConfig(
    vocab_size=256, hidden_size=60, num_hidden_layers=2, num_attention_heads=5, intermediate_size=64,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def registered(cluster: TestCluster) -> Iterator[None]:
    with connect(cluster.address) as connected:
        register_transformers(connected)
        yield


def twins(config: PreTrainedConfig, kind: Any = AutoModelForCausalLM) -> tuple[Any, Any]:
    """The same model on the cluster and on PyTorch's own attention."""
    torch.manual_seed(0)
    # A model keeps its config and writes its attention there.
    ours = kind.from_config(deepcopy(config), attn_implementation="ulysses")
    local = kind.from_config(deepcopy(config), attn_implementation="sdpa")
    local.load_state_dict(ours.state_dict())
    assert (ours.config._attn_implementation, local.config._attn_implementation) == ("ulysses", "sdpa")
    return ours, local


def tokens_of(rows: int, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (batch, rows), generator=torch.Generator().manual_seed(seed))


def losses(model: Any, data: list[dict[str, Tensor]]) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = []
    for batch in data:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def expect_same_gradients(ours: Any, local: Any, loss: Callable[[Any], Tensor]) -> None:
    """Of every parameter: losses of a few steps hardly show a wrong dq or dk."""
    found = []
    for model in (ours, local):
        loss(model).backward()
        found.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        model.zero_grad()
    got, want = found
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        error = (got[name] - gradient).norm()
        assert error <= 1e-4 * gradient.norm() + 1e-7, f"{name}: {error:.1e} of {gradient.norm():.1e}"


def plain(rows: int, seed: int) -> dict[str, Tensor]:
    tokens = tokens_of(rows, seed=seed)
    return {"input_ids": tokens, "labels": tokens}


def padded(rows: int, seed: int) -> dict[str, Tensor]:
    """One sample padded on the left, one on the right, unequally; no loss on padding."""
    tokens = tokens_of(rows, seed=seed)
    mask = torch.ones(2, rows, dtype=torch.int64)
    mask[0, : rows // 3] = 0
    mask[1, rows - rows // 5 :] = 0
    labels = tokens.masked_fill(mask == 0, -100)
    # The first visible token of a sample follows padding, whose output nobody defines.
    labels[0, rows // 3] = -100
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": tokens, "attention_mask": mask, "position_ids": positions, "labels": labels}


def packed(rows: int, seed: int) -> dict[str, Tensor]:
    """Two rows of packed samples, whose borders only position_ids tell."""
    tokens = tokens_of(rows, seed=seed)
    cuts = [rows // 4, rows // 2 + 1]
    positions = torch.stack([torch.cat([torch.arange(cut), torch.arange(rows - cut)]) for cut in cuts])
    return {"input_ids": tokens, "position_ids": positions, "labels": tokens}


@pytest.mark.parametrize("batch", [plain, padded, packed], ids=lambda batch: batch.__name__)
@pytest.mark.parametrize("config", [LLAMA, MISTRAL, GPT2], ids=lambda config: config.model_type)
def test_ten_steps_follow_local_attention(config: PreTrainedConfig, batch: Any) -> None:
    data = [batch(rows, seed) for seed, rows in enumerate([47, 31, 64, 20, 33, 127, 40, 15, 50, 29])]
    ours, local = twins(config)
    expect_same_gradients(ours, local, lambda model: model(**data[0]).loss)
    assert losses(ours, data) == pytest.approx(losses(local, data), rel=5e-5)
    evaluation = batch(127, 10)
    with torch.no_grad():
        got, want = (model.eval()(**evaluation).loss.item() for model in (ours, local))
    assert got == pytest.approx(want, rel=5e-5)


@pytest.mark.usefixtures("data_path")
def test_padded_batches_follow_local_attention_by_either_data_path(cluster: TestCluster) -> None:
    data = [padded(rows, seed) for seed, rows in enumerate([47, 31, 20])]
    ours, local = twins(LLAMA)
    with connect(cluster.address) as connected:
        register_transformers(connected, "ulysses_of_this_path")
        ours.set_attn_implementation("ulysses_of_this_path")
        expect_same_gradients(ours, local, lambda model: model(**data[0]).loss)
        got = losses(ours, data)
    assert got == pytest.approx(losses(local, data), rel=5e-5)


def test_qwen2_with_28_heads_on_8_ranks_follows_local_attention() -> None:
    data = [plain(rows, seed) for seed, rows in enumerate([50, 33, 127])]
    ours, local = twins(QWEN2)
    with running_cluster(8) as eight, connect(eight.address) as connected:
        register_transformers(connected, "ulysses_of_eight")
        ours.set_attn_implementation("ulysses_of_eight")
        got = losses(ours, data)
    assert got == pytest.approx(losses(local, data), rel=5e-5)


@pytest.mark.parametrize("batch", [plain, padded], ids=lambda batch: batch.__name__)
def test_an_encoder_sees_both_ways_but_no_padding(batch: Any) -> None:
    ours, local = twins(BERT, AutoModel)
    inputs = batch(41, 3)
    mask = inputs.get("attention_mask", torch.ones(2, 41))
    arguments = {"input_ids": inputs["input_ids"], "attention_mask": inputs.get("attention_mask")}
    got, want = (model(**arguments).last_hidden_state * mask[..., None] for model in (ours, local))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    weights = torch.randn(want.shape, generator=torch.Generator().manual_seed(0)) * mask[..., None]
    expect_same_gradients(ours, local, lambda model: (model(**arguments).last_hidden_state * weights).sum())


def test_padding_changes_no_result() -> None:
    """The visible tokens of a padded batch get what each sample gets alone."""
    ours, _ = twins(LLAMA)
    batch = padded(30, 5)
    with torch.no_grad():
        together = ours(**{name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}).logits
        for sample, keys in enumerate(batch["attention_mask"].bool()):
            alone = ours(input_ids=batch["input_ids"][sample][keys][None]).logits[0]
            torch.testing.assert_close(together[sample][keys], alone, atol=1e-5, rtol=1e-4)


def test_generation_with_a_cache_follows_local_attention() -> None:
    ours, local = twins(LLAMA)
    arguments = {"max_new_tokens": 6, "do_sample": False, "use_cache": True, "pad_token_id": 0}
    prompt = tokens_of(9)
    assert torch.equal(ours.generate(prompt, **arguments), local.generate(prompt, **arguments))


def test_gradient_checkpointing_follows_local_attention() -> None:
    ours, local = twins(LLAMA)
    for model in (ours, local):
        model.activation_checkpointing_enable()
        model.train()
    data = [padded(40, 1), plain(33, 2)]
    assert losses(ours, data) == pytest.approx(losses(local, data), rel=5e-5)


def bounds(function: Any, rows: int = 12, **arguments: Any) -> MaskBounds:
    return mask_bounds(2, rows, rows, mask_function=function, **arguments)


def test_masks_become_bounds_and_never_matrices() -> None:
    assert bounds(causal_mask_function) == MaskBounds(right=0)
    assert bounds(bidirectional_mask_function) == MaskBounds()
    assert bounds(sliding_window_causal_mask_function(5)) == MaskBounds(left=4, right=0)
    assert bounds(sliding_window_bidirectional_mask_function(5)) == MaskBounds(left=5, right=5)
    # A million rows: a matrix would not fit.
    padding = torch.ones(2, 1_000_000, dtype=torch.bool)
    padding[0, :10] = False
    padding[1, 999_000:] = False
    long = bounds(causal_mask_function, 1_000_000, attention_mask=padding)
    assert long.valid_kv is not None
    assert long.valid_kv.tolist() == [[10, 1_000_000], [0, 999_000]]


def test_a_mask_of_ones_own_is_said_exactly_or_refused() -> None:
    def strictly_before(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        return key < row - 2

    with pytest.raises(UnsupportedError):
        bounds(or_masks(strictly_before, bidirectional_mask_function_of_diagonal))
    assert bounds(and_masks(causal_mask_function, near)) == MaskBounds(left=3, right=0)
    chunked = bounds(chunked_causal_mask_function(5, torch.zeros(2, dtype=torch.int64)), 5)
    assert (chunked.left, chunked.right) == (None, 0)
    with pytest.raises(UnsupportedError):
        bounds(chunked_causal_mask_function(5, torch.zeros(2, dtype=torch.int64)))


def near(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
    return row - key <= 3


def bidirectional_mask_function_of_diagonal(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
    return row == key


def test_padding_between_tokens_is_refused() -> None:
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, 4] = False
    with pytest.raises(UnsupportedError) as refused:
        bounds(causal_mask_function, attention_mask=mask)
    assert refused.value.value == '"a hole in sample 1"'


def test_samples_that_a_collator_gives_twice_have_to_agree() -> None:
    ours, local = twins(LLAMA)
    tokens = tokens_of(30, batch=1)
    positions = torch.cat([torch.arange(11), torch.arange(19)])[None]
    sums = torch.tensor([0, 11, 30], dtype=torch.int32)
    extra = {"cu_seq_lens_q": sums, "cu_seq_lens_k": sums, "max_length_q": 19, "max_length_k": 19}
    with torch.no_grad():
        want = local(input_ids=tokens, position_ids=positions).logits
        got = ours(input_ids=tokens, position_ids=positions, **extra).logits
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
        with pytest.raises(UnsupportedError) as refused:
            ours(input_ids=tokens, **extra)
    assert (refused.value.field, refused.value.value) == ("cu_seq_lens_q", "[0, 11, 30]")


@pytest.mark.parametrize("keyword", ["s_aux", "attn_bias", "output_attentions"])
def test_what_changes_an_attention_or_its_results_is_refused(keyword: str) -> None:
    ours, _ = twins(LLAMA)
    with pytest.raises(UnsupportedError) as refused:
        ours(**plain(8, 0), **{keyword: True})
    assert refused.value.field == keyword


@pytest.mark.parametrize("scaling", [-0.5, 0.0])
def test_the_scaling_of_a_model_is_used(scaling: float) -> None:
    ours, local = twins(LLAMA)
    # PyTorch's fused attention gives NaN for scales that are not positive.
    local.set_attn_implementation("eager")
    for model in (ours, local):
        for layer in model.model.layers:
            layer.self_attn.scaling = scaling
    data = [plain(33, 4), plain(20, 5)]
    assert losses(ours, data) == pytest.approx(losses(local, data), rel=5e-5)


def test_attention_dropout_is_refused() -> None:
    config = LlamaConfig(**{**LLAMA.to_dict(), "attention_dropout": 0.1})
    ours, _ = twins(config)
    ours.train()
    with pytest.raises(UnsupportedError) as refused:
        ours(**plain(8, 0))
    assert refused.value.field == "dropout"
