"""The module that trainers put where their attention was."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ulysses_client.errors import ShapeMismatchError, UnsupportedError, field_error
from ulysses_client.plan import (
    DefaultGatherSizeCalculator,
    DynamicGatherSizeCalculator,
    GatherSizeCalculator,
    Layout,
    Strategy,
    custom_gather_size,
)
from ulysses_client.run_step import StepOutcome
from ulysses_client.wire.convert import Keep, KvCacheChoice

from . import ops
from .core_attention import CoreAttention, CoreCaller, attend_around, require_left_to_core
from .core_exchanges import CoreCall, CoreGatherSizes
from .cp_group import CpGroup, cluster_of
from .pending_attention import PendingAttention
from .runtime import AttentionRuntime
from .shards import check_inputs, row_dimension

KEEPS = ("store", "recompute", "none")
KV_CACHE_CHOICES = ("none", "half", "full", "auto")
LAYOUTS = ("sbhd", "bshd", "thd")
#: Keywords of other attentions that change results in ways the ranks do not compute.
DROPOUT_KEYWORDS = ("dropout", "dropout_p")
BIAS_KEYWORDS = ("attention_bias", "attn_bias", "bias", "alibi_slopes")
CALL_KEYWORDS = ("attention_mask", "attention_mask_lengths", "cu_seqlens_q", "cu_seqlens_kv")


class UlyssesContextAttention(nn.Module):
    """Attention over a sequence that is cut over several owners, computed by a cluster.

    `core_attention` None means that the ranks' devices compute. A module or a function of one's own is called on whole
    sequences of some heads, which the cluster exchanges: one owner per rank, or one that holds everything. `cp_group`
    is a cluster from `connect`, a `torch.distributed` group whose members each hold a shard (its address is in
    ULYSSES_ADDRESS, the files of mutual TLS in ULYSSES_TLS_CERT, _KEY and _CA; ULYSSES_INSECURE and ULYSSES_SILENT_PEER
    as for services), or both as a pair: then the options are those of the cluster, and closing it ends what the group
    made.
    """

    def __init__(
        self,
        core_attention: CoreAttention | None,
        cp_group: CpGroup,
        *,
        gather_size_calculator: GatherSizeCalculator | None = None,
        layout: Layout = "sbhd",
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
        softmax_scale: float | None = None,
        strategy: Strategy | None = None,
        dropout_p: float = 0.0,
        keep: Keep = "store",
        kv_cache_policy: KvCacheChoice | None = None,
        kv_cache_budget_bytes: int | None = None,
        kv_cache_policy_unaligned: bool = False,
    ) -> None:
        """
        gather_size_calculator: how long the gathered sequence is; default: a DynamicGatherSizeCalculator.
        layout: `sbhd` [s, b, h, d], `bshd` [b, s, h, d] or `thd` [t, h, d], with s or t this owner's rows.
        causal: row i sees no key after it (bottom-right aligned when s_q != s_kv).
        window_size: keys that a row sees before and after its own; -1 is unbounded.
        softmax_scale: any finite float32 but -0; default 1 / sqrt(d).
        strategy: `heads` or `balanced`; default: whole heads when they divide, balanced otherwise.
        keep: what ranks keep for backward: `store`; `recompute`: nothing, q, k and v travel again; `none`: inference.
            Without gradients it is `none`.
        kv_cache_policy: `none`, `half`, `full` or `auto`: how much of K and V ranks do not keep but get again in
            backward; half and full align the exchange unless `kv_cache_policy_unaligned`. Default: the cluster's.
        kv_cache_budget_bytes: with `auto`, most bytes that one rank keeps of one forward. Default: the cluster's.

        A core attention of one's own masks and scales by itself, so these options are refused with it, like those about
        what ranks compute and keep.
        """
        super().__init__()
        if core_attention is not None and not callable(core_attention):
            expected = "a module, a function, or None, which means the ranks' devices"
            raise field_error(UnsupportedError, "core_attention", type(core_attention).__name__, expected)
        if layout not in LAYOUTS:
            raise field_error(UnsupportedError, "layout", layout, f"one of {', '.join(LAYOUTS)}")
        _refuse_what_is_not_computed({"dropout_p": dropout_p})
        if keep not in KEEPS:
            raise field_error(UnsupportedError, "keep", keep, f"one of {', '.join(KEEPS)}")
        if kv_cache_policy not in (None, *KV_CACHE_CHOICES):
            expected = f"one of {', '.join(KV_CACHE_CHOICES)}"
            raise field_error(UnsupportedError, "kv_cache_policy", kv_cache_policy, expected)
        if core_attention is not None:
            require_left_to_core(
                {
                    "causal": (causal, False, "False, as it masks itself,"),
                    "window_size": (window_size, (-1, -1), "(-1, -1), as it masks itself,"),
                    "softmax_scale": (softmax_scale, None, "None, as it scales itself,"),
                    "strategy": (strategy if strategy != "heads" else None, None, "heads or None, whole heads,"),
                    "keep": (keep if keep != "none" else "store", "store", "store or none"),
                    "kv_cache_policy": (kv_cache_policy if kv_cache_policy != "none" else None, None, "none or None"),
                    "kv_cache_budget_bytes": (kv_cache_budget_bytes, None, "None, as ranks keep nothing,"),
                }
            )
        self._core_attention = core_attention
        self._runtime = AttentionRuntime(cluster_of(cp_group))
        self._runtime_number = self._runtime.number
        self._calculator = gather_size_calculator or DynamicGatherSizeCalculator()
        self._layout: Layout = layout
        self._left, self._right = _band(causal, window_size)
        self._scale = None if softmax_scale is None else float(softmax_scale)
        self._strategy = strategy
        self._keep: Keep = keep
        self._kv_cache = (kv_cache_policy, kv_cache_budget_bytes, kv_cache_policy_unaligned)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """
        q: [s_local, b, h, d] float32, bfloat16 or float16 (or as `layout` says), h % h_kv == 0, d from 1 to 256.
        k, v: [s_local, b, h_kv, d] like q.
        attention_mask: bool or integer, not zero where visible, of the whole sequence: [s] or [b, s] of keys, or
            [b, 1, s_q, s_kv]. It is said exactly in bands, segments and ranges, or refused; several owners with s_q
            other than s_kv take the last, as keys do not say how many queries there are.
        attention_mask_lengths: [b] integer, length of each sample as the attention mask has it.
        cu_seqlens_q, cu_seqlens_kv: [samples + 1] integer running sums of the whole packed sequence.
        Other keywords reach the `calculate` of one's own calculator untouched, and are refused where there is none;
        a core attention of one's own gets whatever it takes of all that follows v.
        Returns out, shaped like q.
        """
        out: Tensor
        if self._core_attention is not None:
            out = self._around_core(self._core_attention, q, k, v, args, kwargs)
        else:
            out, _ = ops.attention(*self._operands(q, k, v, *args, **kwargs))
        return out

    # A thread cannot be part of a graph, so a compiler leaves it alone.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def start(self, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> PendingAttention:
        """Begins what a call of the module does, and returns while it runs: several may be in flight, begun in the same
        order on all owners. `wait()` of the result gives out, with the graph that gradients had been enabled for here.
        """
        if self._core_attention is not None:
            expected = "None: a core attention of your own computes in its caller's thread"
            raise field_error(UnsupportedError, "core_attention", type(self._core_attention).__name__, expected)
        operands = self._operands(q, k, v, *args, **kwargs)
        return PendingAttention(self._runtime.cluster, ops.prepare_forward(*operands), operands[:3])

    def _operands(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attention_mask: Tensor | None = None,
        *,
        attention_mask_lengths: Tensor | None = None,
        cu_seqlens_q: Tensor | None = None,
        cu_seqlens_kv: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        _refuse_what_is_not_computed(kwargs)
        if type(self._calculator) in (DefaultGatherSizeCalculator, DynamicGatherSizeCalculator):
            _refuse_what_nobody_reads(kwargs)
        q, k, v = autocast(q), autocast(k), autocast(v)
        check_inputs(q, k, v, self._layout)
        extent = None if attention_mask is None else attention_mask.shape[-1]
        size_q, size_kv, calculator, client_calculator = self._gather_sizes(
            q, k, v, extent, attention_mask_lengths, kwargs
        )
        return (
            q,
            k,
            v,
            attention_mask,
            attention_mask_lengths,
            cu_seqlens_q,
            cu_seqlens_kv,
            None,
            None,
            self._runtime_number,
            self._layout,
            self._left,
            self._right,
            self._scale,
            self._strategy,
            size_q,
            size_kv,
            calculator,
            client_calculator,
            self._keep if wants_gradients(q, k, v) else "none",
            *self._kv_cache,
        )

    # It waits for other owners between pieces of a graph, so a compiler leaves it alone.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _around_core(
        self, core: CoreAttention, q: Tensor, k: Tensor, v: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        cluster = self._runtime.cluster
        # Numbered before anything can be refused: calls are numbered as they are made, on every owner.
        call = CoreCall(cluster, row_dimension(self._layout), 1 if self._layout == "thd" else 2)
        q, k, v = autocast(q), autocast(k), autocast(v)
        check_inputs(q, k, v, self._layout)
        mask = kwargs.get("attention_mask", args[0] if args else None)
        extent = mask.shape[-1] if isinstance(mask, Tensor) and mask.dim() else None
        lengths = kwargs.get("attention_mask_lengths")
        size_q, size_kv, calculator, own = self._gather_sizes(q, k, v, extent, lengths, kwargs)
        if calculator == "dynamic":
            # The shards of the other owners do not matter: the mask says it all.
            known = {
                "attention_mask_lengths": None if lengths is None else lengths.tolist(),
                "attention_mask_extent": extent,
                "layout": self._layout,
            }
            size_q = size_kv = DynamicGatherSizeCalculator().calculate(**known)
        aligned = calculator == "default" or (own is not None and None in (size_q, size_kv))
        caller = CoreCaller(core, args, kwargs, own is not None)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._keep != "none"):
            out = attend_around(cluster, caller, call, (q, k, v), CoreGatherSizes(size_q, size_kv, aligned))
        if call.last is not None:
            self._runtime.last_outcome = call.last.step
        return out

    @property
    def last_outcome(self) -> StepOutcome | None:
        """How the newest forward ran: plan, attempt, bytes; for progress lines."""
        return self._runtime.last_outcome

    def _gather_sizes(
        self, q: Tensor, k: Tensor, v: Tensor, extent: int | None, lengths: Tensor | None, kwargs: dict[str, Any]
    ) -> tuple[int | None, int | None, str | None, str | None]:
        """Sizes from a calculator of the caller's own; the known ones run in the coordinator, which sees all shards."""
        calculator = self._calculator
        if type(calculator) is DefaultGatherSizeCalculator:
            return None, None, "default", None
        if type(calculator) is DynamicGatherSizeCalculator:
            return None, None, "dynamic", None
        rows = row_dimension(self._layout)

        def size(tensor: Literal["q", "kv"], shard: Tensor) -> int | None:
            known = {
                "tensor": tensor,
                "shard_rows": [shard.shape[rows]],
                "attention_mask_lengths": None if lengths is None else lengths.tolist(),
                "attention_mask_extent": extent,
                "layout": self._layout,
            }
            return custom_gather_size(calculator, (q, k, v), kwargs, known)

        size_q = size("q", q)
        size_kv = size_q if q.shape[rows] == k.shape[rows] else size("kv", k)
        return size_q, size_kv, None, type(calculator).__name__


def _refuse_what_is_not_computed(keywords: dict[str, Any]) -> None:
    for name in DROPOUT_KEYWORDS:
        value = keywords.get(name)
        if value is not None and value != 0:
            raise field_error(UnsupportedError, name, value, "0: attention dropout is not computed")
    for name in BIAS_KEYWORDS:
        if keywords.get(name) is not None:
            raise field_error(UnsupportedError, name, _said(keywords[name]), "None: biases are not computed")


def _refuse_what_nobody_reads(keywords: dict[str, Any]) -> None:
    """A misspelt mask would be no mask, so what is not known is refused."""
    for name, value in keywords.items():
        if name in (*DROPOUT_KEYWORDS, *BIAS_KEYWORDS):
            continue
        if isinstance(value, Tensor) and value.is_floating_point():
            expected = "a boolean attention_mask: biases are not computed"
        else:
            expected = (
                f"one of {', '.join(CALL_KEYWORDS)}, unless a gather-size calculator of your own reads it; causal, "
                "window_size and softmax_scale are options of the module"
            )
        raise field_error(UnsupportedError, name, _said(value), expected)


def _said(value: object) -> object:
    return f"a tensor, {value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else value


def _band(causal: bool, window_size: tuple[int, int]) -> tuple[int | None, int | None]:
    left, right = (None if bound < 0 else bound for bound in window_size)
    if causal and right not in (None, 0):
        raise field_error(ShapeMismatchError, "window_size", list(window_size), "no keys after a row when causal")
    return left, 0 if causal else right


def wants_gradients(q: Tensor, k: Tensor, v: Tensor) -> bool:
    return torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)


def autocast(tensor: Tensor) -> Tensor:
    """As PyTorch's own attention does: inputs in autocast's dtype, but for float64."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.is_floating_point() and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor
