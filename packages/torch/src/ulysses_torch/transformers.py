"""Hugging Face transformers: `attn_implementation="ulysses"` computes on a cluster.

Both halves are registered. Without its mask function an attention gets no mask for a padded batch, and would silently
see padding. Masks are never materialized: their functions are recognized and become bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import getclosurevars
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ulysses_client.cluster import Cluster
from ulysses_client.errors import UnsupportedError, field_error
from ulysses_client.plan import Mask, classify_rows

from . import ops
from .attention import autocast, wants_gradients
from .runtime import AttentionRuntime
from .shards import check_inputs

NAME = "ulysses"
#: Elements of an unknown mask that are looked at together.
BLOCK_ELEMENTS = 1 << 22
#: Keywords of attention functions that change the result in ways the ranks do not compute.
REFUSED = (
    "softcap", "position_bias", "attention_bias", "attn_bias", "s_aux", "sinks", "head_mask", "indices", "block_indices"
)  # fmt: skip


@dataclass(frozen=True)
class MaskBounds:
    """A mask in the algebra: what the registered mask function hands to the registered attention."""

    left: int | None = None
    right: int | None = None
    #: int64 [samples + 1], over all rows of the batch one after the other.
    cu_seqlens: Tensor | None = None
    #: int64 [b, 2] each.
    valid_q: Tensor | None = None
    valid_kv: Tensor | None = None


def register_transformers(cluster: Cluster, name: str = NAME) -> None:
    """Registers attention and mask function under `name`; a later call replaces the cluster."""
    from transformers import AttentionInterface, AttentionMaskInterface

    runtime = AttentionRuntime(cluster)

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: MaskBounds | Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        return _attend(runtime, module, query, key, value, attention_mask, **kwargs), None

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, mask_bounds)


def _attend(
    runtime: AttentionRuntime,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: MaskBounds | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> Tensor:
    """query [b, h, s_q, d], key and value [b, h_kv, s_kv, d] -> [b, s_q, h, d]."""
    if dropout != 0:
        expected = "0: set the model's attention dropout to 0"
        raise field_error(UnsupportedError, "dropout", dropout, expected)
    for keyword in REFUSED:
        if kwargs.get(keyword) is not None:
            raise field_error(UnsupportedError, keyword, "given", "None: it is not computed")
    if kwargs.get("output_attentions"):
        expected = "False: probabilities are nowhere as a whole"
        raise field_error(UnsupportedError, "output_attentions", True, expected)
    bounds = MaskBounds()
    tensor = None
    if isinstance(attention_mask, MaskBounds):
        bounds = attention_mask
    elif attention_mask is not None:
        tensor = attention_mask
    elif (getattr(module, "is_causal", True) if is_causal is None else is_causal) and query.shape[2] > 1:
        # A module that made no mask at all, which every caller of the mask function does.
        bounds = MaskBounds(None if sliding_window is None else sliding_window - 1, 0)
    for keyword, states in (("cu_seq_lens_q", query), ("cu_seq_lens_k", key)):
        _require_same_samples(keyword, kwargs.get(keyword), bounds, states)
    # [b, h, s, d] -> [b, s, h, d], views
    q, k, v = (autocast(each).transpose(1, 2) for each in (query, key, value))
    layout = "bshd"
    shape = q.shape
    if bounds.cu_seqlens is not None:
        # Packed rows of all samples one after the other: [b, s, h, d] -> [b * s, h, d]
        layout = "thd"
        q, k, v = (each.reshape(-1, *each.shape[2:]) for each in (q, k, v))
    check_inputs(q, k, v, layout)  # type: ignore[arg-type]
    out: Tensor
    out, _ = ops.attention(
        q,
        k,
        v,
        tensor,
        None,
        bounds.cu_seqlens,
        bounds.cu_seqlens,
        bounds.valid_q,
        bounds.valid_kv,
        runtime.number,
        layout,
        bounds.left,
        bounds.right,
        None if scaling is None else float(scaling),
        None,
        None,
        None,
        "dynamic",
        None,
        "store" if wants_gradients(q, k, v) else "none",
        None,
        None,
        False,
    )
    return out.reshape(shape)


def _require_same_samples(keyword: str, given: Tensor | None, bounds: MaskBounds, states: Tensor) -> None:
    """Collators give samples of a packed batch twice, for FlashAttention and as position_ids, which the mask has."""
    if given is None:
        return
    batch, _, rows, _ = states.shape
    # A batch that is not packed has one sample per row of it.
    known = torch.arange(0, batch * rows + 1, rows) if bounds.cu_seqlens is None else bounds.cu_seqlens
    if given.tolist() != known.tolist():
        expected = f"{known.tolist()}, which position_ids say, or None"
        raise field_error(UnsupportedError, keyword, given.tolist(), expected)


def mask_bounds(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> MaskBounds:
    """The mask that transformers describes by a function of indices and a padding mask [b, s], as bounds.

    Raises UNSUPPORTED for what the algebra cannot say, such as padding between tokens.
    """
    q_first, kv_first = int(q_offset), int(kv_offset)
    bounds = MaskBounds() if mask_function is None else _recognize(mask_function)
    if bounds is None:
        bounds = _evaluate(mask_function, batch_size, q_length, kv_length, q_first, kv_first)
    elif (bounds.left is not None or bounds.right is not None) and q_first - kv_first != kv_length - q_length:
        expected = f"{kv_length - q_length}: queries that are the last of the keys"
        raise field_error(UnsupportedError, "q_offset - kv_offset", q_first - kv_first, expected)
    if attention_mask is None:
        return bounds
    padding = attention_mask[:, kv_first : kv_first + kv_length].bool()
    padding = nn.functional.pad(padding, (0, kv_length - padding.shape[1]))
    return _with_padding(bounds, padding, q_length)


def _with_padding(bounds: MaskBounds, padding: Tensor, q_length: int) -> MaskBounds:
    if bool(padding.all()):
        return bounds
    if bounds.cu_seqlens is not None or bounds.valid_kv is not None:
        raise field_error(UnsupportedError, "attention_mask", "padding", "none when the batch is packed or masked")
    batch, kv_length = padding.shape
    # First and end visible key; anything but one run is refused.
    positions = torch.arange(kv_length, device=padding.device).expand_as(padding)
    begin = torch.where(padding, positions, kv_length).min(dim=1).values
    end = torch.where(padding, positions + 1, 0).max(dim=1).values
    begin = torch.minimum(begin, end)
    torn = (end - begin != padding.sum(dim=1)).nonzero()
    if torn.numel():
        sample = int(torn[0])
        expected = "one run of visible keys, padding at its ends only"
        raise field_error(UnsupportedError, "attention_mask", f"a hole in sample {sample}", expected)
    valid_kv = torch.stack([begin, end], dim=1)
    full = torch.tensor([0, q_length], device=padding.device).expand(batch, 2)
    return replace(bounds, valid_q=valid_kv if q_length == kv_length else full, valid_kv=valid_kv)


def _recognize(function: Callable[..., Any]) -> MaskBounds | None:
    """The bounds of transformers' own mask functions, or None for others."""
    name = getattr(function, "__qualname__", "")
    if getattr(function, "__module__", "") != "transformers.masking_utils":
        return None
    captured = getclosurevars(function).nonlocals if "<locals>" in name else {}
    match name.split(".")[0]:
        case "causal_mask_function":
            return MaskBounds(right=0)
        case "bidirectional_mask_function":
            return MaskBounds()
        case "sliding_window_overlay":
            return MaskBounds(left=captured["sliding_window"] - 1)
        case "sliding_window_bidirectional_overlay":
            return MaskBounds(captured["sliding_window"], captured["sliding_window"])
        case "remap_positions_for_packed_sequence":
            # Positions count from each segment's start, and bands are of differences.
            return _recognize(captured["mask_function"])
        case "packed_sequence_mask_function":
            return MaskBounds(cu_seqlens=_running_sums(captured["packed_sequence_mask"]))
        case "and_masks":
            return _meet([_recognize(each) for each in captured["mask_functions"]])
        case _:
            return None


def _meet(parts: list[MaskBounds | None]) -> MaskBounds | None:
    met = MaskBounds()
    for part in parts:
        if part is None or (met.cu_seqlens is not None and part.cu_seqlens is not None):
            return None
        met = MaskBounds(
            _least(met.left, part.left),
            _least(met.right, part.right),
            part.cu_seqlens if met.cu_seqlens is None else met.cu_seqlens,
        )
    return met


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _running_sums(sequence: Tensor) -> Tensor:
    """Numbers of the sequences that tokens belong to, [b, s], as running sums over all rows of the batch."""
    batch, rows = sequence.shape
    first = torch.ones(batch, rows, dtype=torch.bool, device=sequence.device)
    first[:, 1:] = sequence[:, 1:] != sequence[:, :-1]
    starts = first.reshape(-1).nonzero().reshape(-1)
    return torch.cat([starts, starts.new_tensor([batch * rows])])


def _evaluate(
    function: Callable[..., Any] | None, batch: int, q_length: int, kv_length: int, q_first: int, kv_first: int
) -> MaskBounds:
    """Looks at every element of an unknown mask, some rows at a time, and says it exactly or refuses it."""
    begins = np.zeros((batch, q_length), np.int64)
    ends = np.zeros((batch, q_length), np.int64)
    torn = np.zeros((batch, q_length), bool)
    keys = torch.arange(kv_length) + kv_first
    block = max(1, BLOCK_ELEMENTS // max(1, kv_length))
    for sample in range(batch):
        for row in range(0, q_length, block):
            rows = torch.arange(row, min(row + block, q_length)) + q_first
            indices = (torch.tensor(sample), torch.tensor(0), rows[:, None], keys[None, :])
            seen = function(*indices) if function is not None else torch.ones(())
            seen = seen.expand(len(rows), kv_length).bool().cpu().numpy()
            some = seen.any(axis=1)
            at = slice(row, row + len(rows))
            begins[sample, at] = np.where(some, seen.argmax(axis=1), 0)
            ends[sample, at] = np.where(some, kv_length - seen[:, ::-1].argmax(axis=1), 0)
            torn[sample, at] = seen.sum(axis=1) != ends[sample, at] - begins[sample, at]
    if torn.any():
        sample, row = (int(each) for each in np.argwhere(torn)[0])
        expected = "one run of visible keys per row"
        raise field_error(UnsupportedError, "mask_function", f"a hole in sample {sample}, row {row}", expected)
    return _bounds_of(classify_rows(begins, ends, kv_length))


def _bounds_of(mask: Mask) -> MaskBounds:
    segments, ranges = mask.segments, mask.valid_ranges
    return MaskBounds(
        mask.left,
        mask.right,
        None if segments is None else torch.tensor(segments.cu_seqlens_q),
        None if ranges is None else torch.tensor([list(each) for each in ranges.q]),
        None if ranges is None else torch.tensor([list(each) for each in ranges.kv]),
    )
