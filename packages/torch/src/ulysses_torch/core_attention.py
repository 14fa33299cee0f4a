"""The trainer's own attention, between an exchange and its reverse.

Each owner's module gets whole sequences of some heads and the KV heads that these read. Gradients pass through it, to
its parameters too. One owner holds everything already: then nothing is exchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ulysses_client.cluster import Cluster
from ulysses_client.errors import ShapeMismatchError, UnsupportedError, field_error

from .core_exchanges import CoreCall, CoreGatherSizes

#: Called as `core(q, k, v, *args, **kwargs)`; returns out, shaped like q or with its heads joined: [..., h * d].
CoreAttention = nn.Module | Callable[..., Tensor]

#: Keywords of the module's own call that are for the gather size; a core may name them too.
GATHER_SIZE_KEYWORDS = ("attention_mask_lengths",)


class CoreCaller:
    """A core attention with the arguments of one call."""

    def __init__(self, core: CoreAttention, args: Sequence[Any], kwargs: dict[str, Any], own_calculator: bool) -> None:
        #: Whether every owner has a head.
        self.everyone_attends = True
        #: Whether out came as [..., h * d].
        self.joins_heads = False
        self._core = core
        self._args = args
        self._kwargs = {
            name: value
            for name, value in kwargs.items()
            # What is for the gather size, or may be, reaches a core that knows the name.
            if not (own_calculator or name in GATHER_SIZE_KEYWORDS) or takes_keyword(core, name)
        }

    @property
    def learns(self) -> bool:
        """Whether it may have gradients beside those of q, k and v; of a function nobody knows."""
        if not torch.is_grad_enabled():
            return False
        core = self._core
        return not isinstance(core, nn.Module) or any(each.requires_grad for each in core.parameters())

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, reads: list[int]) -> Tensor:
        heads = q.dim() - 2
        k, v = (in_equal_groups(each, reads, heads) for each in (k, v))
        out = self._core(q, k, v, *self._args, **self._kwargs)
        if not isinstance(out, Tensor):
            raise field_error(ShapeMismatchError, "out", type(out).__name__, "a tensor from the core attention")
        if out.shape not in (q.shape, joined_heads(q)):
            expected = f"{list(q.shape)} or {list(joined_heads(q))}, as the core attention was given q"
            raise field_error(ShapeMismatchError, "out.shape", list(out.shape), expected)
        if out.dtype != q.dtype:
            expected = f"{q.dtype}, as the core attention was given q"
            raise field_error(ShapeMismatchError, "out.dtype", out.dtype, expected)
        self.joins_heads = out.dim() < q.dim()
        if self.joins_heads and not self.everyone_attends:
            expected = f"{list(q.shape)}, because owners without a head cannot know that heads are joined"
            raise field_error(ShapeMismatchError, "out.shape", list(out.shape), expected)
        return out.reshape(q.shape)


def attend_around(
    cluster: Cluster, caller: CoreCaller, call: CoreCall, qkv: Sequence[Tensor], sizes: CoreGatherSizes
) -> Tensor:
    """Exchange, the core on whole sequences of this owner's heads, exchange back."""
    q, k, v = qkv
    heads, kv_heads, owners = q.shape[call.heads], k.shape[call.heads], cluster.options.owner_count
    if kv_heads == 0 or heads % kv_heads != 0:
        raise field_error(ShapeMismatchError, "kv_heads", kv_heads, f"a divisor of q_heads, which is {heads}")
    if sizes.aligned and heads % owners != 0:
        remedy = "in an aligned exchange; use DynamicGatherSizeCalculator for an unaligned one"
        raise field_error(ShapeMismatchError, "q_heads", heads, f"a multiple of cp_size {owners} {remedy}")
    caller.everyone_attends = heads >= owners
    if owners == 1:
        out = _attend_alone(caller, call.rows, q, k, v, sizes)
    else:
        out = call.attend(caller, q, k, v, sizes, caller.learns)
    return out.reshape(joined_heads(out)) if caller.joins_heads else out


def _attend_alone(caller: CoreCaller, dim: int, q: Tensor, k: Tensor, v: Tensor, sizes: CoreGatherSizes) -> Tensor:
    """What one owner holds is all there is; rows beyond the gather size are left out, as an exchange would."""
    q_rows, kv_rows = _gathered_rows(q.shape[dim], sizes.q), _gathered_rows(k.shape[dim], sizes.kv)
    group = q.shape[-2] // k.shape[-2]
    reads = [head // group for head in range(q.shape[-2])]
    out = caller(q.narrow(dim, 0, q_rows), k.narrow(dim, 0, kv_rows), v.narrow(dim, 0, kv_rows), reads)
    # [.., rows, ..] -> [.., all rows, ..]: padding names dimensions from the last.
    return pad(out, (*(0, 0) * (out.dim() - 1 - dim), 0, q.shape[dim] - q_rows))


def _gathered_rows(rows: int, size: int | None) -> int:
    if size is not None and not 1 <= size <= rows:
        expected = f"None or an integer from 1 to {rows}, the rows of all shards"
        raise field_error(ShapeMismatchError, "gather_size", size, expected)
    return rows if size is None else size


def in_equal_groups(tensor: Tensor, reads: Sequence[int], dim: int) -> Tensor:
    """KV heads for query heads that read `reads`: as they are when each is read by as many, in order, as grouped-query
    attention has it; one per query head where owners cut groups otherwise.
    """
    heads = tensor.shape[dim]
    group = len(reads) // heads
    if group * heads == len(reads) and all(head == place // group for place, head in enumerate(reads)):
        return tensor
    return tensor.index_select(dim, torch.tensor(reads, device=tensor.device))


def joined_heads(tensor: Tensor) -> torch.Size:
    """[..., h, d] -> [..., h * d]"""
    return torch.Size((*tensor.shape[:-2], tensor.shape[-2] * tensor.shape[-1]))


def takes_keyword(core: CoreAttention, name: str) -> bool:
    """Functions that do not say what they take may take anything."""
    try:
        parameters = inspect.signature(core.forward if isinstance(core, nn.Module) else core).parameters
    except ValueError:
        return True
    kinds = {each.kind for each in parameters.values()}
    return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def require_left_to_core(options: dict[str, Any]) -> None:
    """What a core attention of one's own does itself, or makes void, is refused: nothing is ignored."""
    for field, (value, default, expected) in options.items():
        if value != default:
            raise field_error(UnsupportedError, field, value, f"{expected} with a core attention of your own")
