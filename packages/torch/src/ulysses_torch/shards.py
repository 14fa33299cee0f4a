"""Tensors as the exchange sees them: uint8 [rows, batch, heads, d * element bytes] on the host."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ulysses_client.errors import ShapeMismatchError, UnsupportedError, field_error
from ulysses_client.plan import DType, Layout
from ulysses_client.wire.slices import Bytes

DTYPES: dict[torch.dtype, DType] = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
TORCH_DTYPES: dict[DType, torch.dtype] = {name: dtype for dtype, name in DTYPES.items()}


def check_inputs(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> None:
    """Raises SHAPE_MISMATCH or UNSUPPORTED, naming the tensor, for what cannot be one step."""
    dimensions = 3 if layout == "thd" else 4
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dtype not in DTYPES:
            raise field_error(UnsupportedError, f"{name}.dtype", tensor.dtype, "float32, bfloat16 or float16")
        if tensor.dim() != dimensions:
            expected = f"{dimensions} dimensions in layout {layout}"
            raise field_error(ShapeMismatchError, f"{name}.shape", list(tensor.shape), expected)
        if tensor.dtype != q.dtype:
            raise field_error(ShapeMismatchError, f"{name}.dtype", tensor.dtype, f"{q.dtype}, like q")
        if tensor.device != q.device:
            raise field_error(ShapeMismatchError, f"{name}.device", tensor.device, f"{q.device}, like q")
    if v.shape != k.shape:
        raise field_error(ShapeMismatchError, "v.shape", list(v.shape), f"{list(k.shape)}, like k")
    rows, heads = row_dimension(layout), dimensions - 2
    for dimension in range(dimensions):
        if dimension not in (rows, heads) and k.shape[dimension] != q.shape[dimension]:
            expected = f"{q.shape[dimension]}, like q"
            raise field_error(ShapeMismatchError, f"k.shape[{dimension}]", k.shape[dimension], expected)


def row_dimension(layout: Layout) -> int:
    return 1 if layout == "bshd" else 0


def host_shards(layout: Layout, *tensors: Tensor) -> list[Bytes]:
    """Tensors to be read: their own memory, or on another device a copy of them in pinned memory."""
    return [_bytes_of(_with_whole_rows(tensor), layout) for tensor in on_host(*tensors)]


def _with_whole_rows(tensor: Tensor) -> Tensor:
    return tensor.contiguous() if tensor.stride(-1) != 1 and tensor.shape[-1] != 1 else tensor


def result_like(tensor: Tensor) -> Tensor:
    """Zeros on the host to write results to, pinned when they go to another device."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")


def dense_bytes(tensor: Tensor) -> Bytes:
    """A tensor to be read, as uint8 [*shape, element bytes]; a copy when it is not dense or not on the host."""
    (there,) = on_host(tensor)
    dense = there.contiguous()
    # Empty tensors have no bytes to be seen.
    flat = dense.reshape(-1).view(torch.uint8).numpy() if dense.numel() else np.empty(0, np.uint8)
    return flat.reshape(*dense.shape, dense.element_size())


def tensor_of(dense: Bytes, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The inverse; on the host it shares the memory."""
    shape = dense.shape[:-1]
    tensor = torch.from_numpy(dense.reshape(-1)).view(dtype).reshape(shape)
    return tensor.to(device)


def on_host(*tensors: Tensor) -> list[Tensor]:
    """As they are, or copied to pinned memory: all copies run at once, behind what computes the tensors."""
    staged = [_staged(tensor.detach()) for tensor in tensors]
    for device in {tensor.device for tensor in tensors if tensor.device.type == "cuda"}:
        torch.cuda.current_stream(device).synchronize()
    return staged


def to_device(result: Tensor, device: torch.device) -> Tensor:
    """From pinned memory without a wait: what uses it comes behind it on the stream; PyTorch keeps it until then."""
    return result.to(device, non_blocking=result.is_pinned())


def _staged(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def writable_shard(result: Tensor, layout: Layout) -> Bytes:
    return _bytes_of(result, layout)


def _bytes_of(tensor: Tensor, layout: Layout) -> Bytes:
    # sbhd as it is; bshd: [b, s, h, d] -> [s, b, h, d]; thd: [t, h, d] -> [t, 1, h, d]
    rows_first = {"sbhd": lambda: tensor, "bshd": lambda: tensor.transpose(0, 1), "thd": lambda: tensor.unsqueeze(1)}
    shaped = rows_first[layout]()
    if shaped.shape[-1] == 1:
        # A last dimension of one may have any stride, and only stride 1 can be seen as bytes.
        shaped = shaped.as_strided(shaped.shape, (*shaped.stride()[:-1], 1))
    shard: Bytes = shaped.view(torch.uint8).numpy()
    return shard
