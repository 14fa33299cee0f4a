"""The operators `ulysses::attention` and `ulysses::attention_backward`, for eager mode and `torch.compile` alike.

Annotations here are evaluated, unlike elsewhere: PyTorch 2.4 infers schemas of operators from types, not from strings.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulysses_client.attention_step import QkvShards, StoredForward, forward, start_call
from ulysses_client.errors import ShapeMismatchError, UnsupportedError, field_error
from ulysses_client.plan import Mask, RowRange, Segments, ValidRanges, classify_mask, float32
from ulysses_client.wire.convert import StepView

from .runtime import AttentionRuntime, forward_of, keep_forward, no_forward, runtime_of, started_forward
from .shards import DTYPES, host_shards, result_like, row_dimension, to_device, writable_shard


class PreparedForward:
    """A forward that has its number; `run` computes it, in whatever thread."""

    def __init__(self, runtime: AttentionRuntime, view: StepView, q: Tensor, k: Tensor, v: Tensor) -> None:
        self._runtime = runtime
        self._view = view
        self.layout = view.layout
        self._device = q.device
        self._out = result_like(q)
        self._inputs = QkvShards(*host_shards(view.layout, q, k, v))
        self.started = start_call(runtime.cluster)

    def run(self) -> StoredForward:
        out = writable_shard(self._out, self._view.layout)
        return forward(self._runtime.cluster, self._view, self._inputs, out, self.started)

    def results(self, stored: StoredForward) -> tuple[Tensor, Tensor]:
        """`out` like q, and the handle that backward needs."""
        self._runtime.last_outcome = stored.outcome
        handle = no_forward() if self._view.keep == "none" else keep_forward(stored)
        return to_device(self._out, self._device), handle


def prepare_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor | None,
    attention_mask_lengths: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_kv: Tensor | None,
    valid_q: Tensor | None,
    valid_kv: Tensor | None,
    runtime: int,
    layout: str,
    left: int | None,
    right: int | None,
    scale: float | None,
    strategy: str | None,
    gather_size_q: int | None,
    gather_size_kv: int | None,
    calculator: str | None,
    client_calculator: str | None,
    keep: str,
    kv_cache_policy: str | None,
    kv_cache_budget_bytes: int | None,
    kv_cache_policy_unaligned: bool,
) -> PreparedForward:
    owner = runtime_of(runtime)
    rows, heads = row_dimension(layout), q.dim() - 2  # type: ignore[arg-type]
    batch = 1 if layout == "thd" else q.shape[1 - rows]
    bounds = Mask(left, right, _segments(cu_seqlens_q, cu_seqlens_kv), _valid_ranges(valid_q, valid_kv))
    mask = bounds
    if attention_mask is not None:
        mask = _with_tensor(bounds, attention_mask, batch)
    view = StepView(
        dtype=DTYPES[q.dtype],
        layout=layout,  # type: ignore[arg-type]
        batch=batch,
        q_heads=q.shape[heads],
        kv_heads=k.shape[heads],
        head_size=q.shape[-1],
        q_rows=q.shape[rows],
        kv_rows=k.shape[rows],
        mask=mask,
        scale=float32(1 / math.sqrt(q.shape[-1]) if scale is None else scale),
        strategy=strategy,  # type: ignore[arg-type]
        keep=keep,  # type: ignore[arg-type]
        attention_mask_lengths=_integers(attention_mask_lengths),
        attention_mask_extent=None if attention_mask is None else attention_mask.shape[-1],
        gather_size_q=gather_size_q,
        gather_size_kv=gather_size_kv,
        gather_size_calculator=calculator,
        client_calculator=client_calculator,
        kv_cache_policy=kv_cache_policy,  # type: ignore[arg-type]
        kv_cache_budget_bytes=kv_cache_budget_bytes,
        kv_cache_policy_unaligned=kv_cache_policy_unaligned,
    )
    return PreparedForward(owner, view, q, k, v)


@torch.library.custom_op("ulysses::attention", mutates_args=())
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor | None,
    attention_mask_lengths: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_kv: Tensor | None,
    valid_q: Tensor | None,
    valid_kv: Tensor | None,
    runtime: int,
    layout: str,
    left: int | None,
    right: int | None,
    scale: float | None,
    strategy: str | None,
    gather_size_q: int | None,
    gather_size_kv: int | None,
    calculator: str | None,
    client_calculator: str | None,
    keep: str,
    kv_cache_policy: str | None,
    kv_cache_budget_bytes: int | None,
    kv_cache_policy_unaligned: bool,
) -> tuple[Tensor, Tensor]:
    """`out` like q, and the handle that backward needs."""
    prepared = prepare_forward(
        q,
        k,
        v,
        attention_mask,
        attention_mask_lengths,
        cu_seqlens_q,
        cu_seqlens_kv,
        valid_q,
        valid_kv,
        runtime,
        layout,
        left,
        right,
        scale,
        strategy,
        gather_size_q,
        gather_size_kv,
        calculator,
        client_calculator,
        keep,
        kv_cache_policy,
        kv_cache_budget_bytes,
        kv_cache_policy_unaligned,
    )
    return prepared.results(prepared.run())


@torch.library.custom_op("ulysses::finish_attention", mutates_args=())
def finish_attention(q: Tensor, k: Tensor, v: Tensor, number: int, layout: str) -> tuple[Tensor, Tensor]:
    """The same of a forward that was started."""
    return started_forward(number).finish()


@attention.register_fake
def _(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), torch.empty(1, dtype=torch.int64, device="cpu")


@finish_attention.register_fake
def _(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), torch.empty(1, dtype=torch.int64, device="cpu")


@torch.library.custom_op("ulysses::attention_backward", mutates_args=())
def attention_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, handle: Tensor, layout: str
) -> tuple[Tensor, Tensor, Tensor]:
    """dq like q, dk and dv like k. The inputs are read again when forward must be repeated."""
    results = [result_like(tensor) for tensor in (q, k, v)]
    *inputs, upstream = host_shards(layout, q, k, v, dout)  # type: ignore[arg-type]
    shards = [writable_shard(result, layout) for result in results]  # type: ignore[arg-type]
    forward_of(handle).backward(QkvShards(*inputs), upstream, *shards)
    dq, dk, dv = (to_device(result, q.device) for result in results)
    return dq, dk, dv


@attention_backward.register_fake
def _(dout: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_attention(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _save_for_backward(ctx, inputs, output, layout=inputs[10])


def _save_finished(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _save_for_backward(ctx, inputs, output, layout=inputs[4])


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor], *, layout: str) -> None:
    q, k, v = inputs[:3]
    ctx.layout = layout
    ctx.others = len(inputs) - 3
    # The handle is saved like a tensor, so that checkpointing drops it with the rest.
    ctx.save_for_backward(q, k, v, output[1])


def _backward(ctx: Any, dout: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dout is None:
        return (None,) * (3 + int(ctx.others))
    q, k, v, handle = ctx.saved_tensors
    return (*attention_backward(dout, q, k, v, handle, ctx.layout), *(None,) * int(ctx.others))


def _refuse_double_backward(ctx: Any, *_: Tensor | None) -> None:
    raise field_error(UnsupportedError, "create_graph", True, "False: gradients are of the first order")


attention.register_autograd(_backward, setup_context=_save_attention)
finish_attention.register_autograd(_backward, setup_context=_save_finished)
attention_backward.register_autograd(_refuse_double_backward)


def _with_tensor(bounds: Mask, attention_mask: Tensor, batch: int) -> Mask:
    """The bounds and a boolean mask of the whole sequence: [s] or [b, s] of keys, or [b, 1, s_q, s_kv]."""
    if attention_mask.is_floating_point():
        expected = "a boolean or integer mask, not zero where visible; float biases are not supported"
        raise field_error(UnsupportedError, "attention_mask.dtype", attention_mask.dtype, expected)
    if bounds.segments is not None or bounds.valid_ranges is not None:
        expected = "absent when cu_seqlens or valid ranges are given"
        raise field_error(ShapeMismatchError, "attention_mask", "a tensor", expected)
    shape = attention_mask.shape
    s_kv = shape[-1] if len(shape) else 0
    s_q = shape[2] if len(shape) == 4 else s_kv
    said = classify_mask(attention_mask.cpu().numpy(), batch, s_q, s_kv)
    if len(shape) != 4:
        ranges = said.valid_ranges
        # How many queries there are, in the shards of all owners, is for the coordinator to say.
        return Mask(bounds.left, bounds.right, None, None if ranges is None else ValidRanges((), ranges.kv))
    if bounds.left is not None or bounds.right is not None:
        expected = "[s] or [b, s] when causal or window_size sets a band"
        raise field_error(ShapeMismatchError, "attention_mask.shape", list(shape), expected)
    return said


def _segments(cu_seqlens_q: Tensor | None, cu_seqlens_kv: Tensor | None) -> Segments | None:
    q = _integers(cu_seqlens_q)
    if q is None:
        if cu_seqlens_kv is not None:
            raise field_error(ShapeMismatchError, "cu_seqlens_q", None, "running sums, because cu_seqlens_kv has them")
        return None
    kv = _integers(cu_seqlens_kv)
    return Segments(q, q if kv is None else kv)


def _valid_ranges(q: Tensor | None, kv: Tensor | None) -> ValidRanges | None:
    if q is None or kv is None:
        return None
    return ValidRanges(_ranges(q), _ranges(kv))


def _ranges(ranges: Tensor) -> tuple[RowRange, ...]:
    return tuple(RowRange(int(begin), int(end)) for begin, end in ranges.tolist())


def _integers(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(int(each) for each in np.asarray(tensor.cpu()))
