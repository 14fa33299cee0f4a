"""How far results may be from float64: no further than twice PyTorch's own attention on the same inputs, plus 3e-5."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Results = tuple[Tensor, Tensor, Tensor, Tensor]
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
FLOOR = 3e-5


def random_inputs(shape: tuple[int, ...], kv_heads: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, ...]:
    """q, k, v, dout of one layout; `shape` is q's, heads last but one."""
    generator = torch.Generator().manual_seed(seed)
    kv_shape = (*shape[:-2], kv_heads, shape[-1])
    return tuple(torch.randn(each, generator=generator).to(dtype) for each in (shape, kv_shape, kv_shape, shape))


def results(attention: Attention, q: Tensor, k: Tensor, v: Tensor, dout: Tensor) -> Results:
    """out, dq, dk, dv."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (q, k, v)]
    out = attention(*leaves)
    gradients = torch.autograd.grad(out, leaves, dout.to(out.dtype))
    return (out.detach(), *gradients)  # type: ignore[return-value]


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own causal attention, [s, b, h, d]."""
    q, k, v = (tensor.permute(1, 2, 0, 3) for tensor in (q, k, v))
    # KV heads are repeated for their group of query heads: PyTorch 2.4 has no `enable_gqa`.
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v))
    return scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3)


def local_attention(layout: str, mask: Tensor | None = None, causal: bool = False) -> Attention:
    """PyTorch's own attention on tensors of a layout; `mask` is bool, broadcast to [b, h, s_q, s_kv]."""

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        to_bhsd = {"sbhd": (1, 2, 0, 3), "bshd": (0, 2, 1, 3)}
        if layout == "thd":
            # [t, h, d] -> [1, h, t, d]
            q, k, v = (tensor.transpose(0, 1)[None] for tensor in (q, k, v))
        else:
            q, k, v = (tensor.permute(to_bhsd[layout]) for tensor in (q, k, v))
        group = q.shape[1] // k.shape[1]
        k, v = (tensor.repeat_interleave(group, dim=1) for tensor in (k, v))
        seen = mask
        if causal:
            band = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
            seen = band if seen is None else seen & band
        if seen is None:
            out = scaled_dot_product_attention(q, k, v)
        else:
            # A row that sees nothing is zero. PyTorch 2.4 would have NaN for it, and so in all gradients: it is given
            # everything to see, and counts for nothing.
            some = seen.any(-1, keepdim=True)
            out = torch.where(some, scaled_dot_product_attention(q, k, v, attn_mask=seen | ~some), 0)
        if layout == "thd":
            return out[0].transpose(0, 1)
        back = {"sbhd": (2, 0, 1, 3), "bshd": (0, 2, 1, 3)}
        return out.permute(back[layout])

    return attention


def expect_parity(attention: Attention, local: Attention, inputs: tuple[Tensor, ...]) -> Results:
    exact = results(local, *(tensor.double() for tensor in inputs))
    own = results(local, *inputs)
    got = results(attention, *inputs)
    for name, want, peer, result in zip(("out", "dq", "dk", "dv"), exact, own, got, strict=True):
        allowed = 2 * (peer.double() - want).abs().max() + FLOOR
        error = (result.double() - want).abs().max()
        assert result.dtype == inputs[0].dtype
        assert error <= allowed, f"{name}: {error:.2e} from float64, expected at most {allowed:.2e}"
    return got
