"""Tensors as the exchange sees them: uint8 [rows, batch, heads, d * element bytes] on the host."""

from __future__ import annotations

import torch
from torch import Tensor

from ulysses_client.errors import ShapeMismatchError, UnsupportedError, field_error
from ulysses_client.plan import DType, Layout
from ulysses_client.wire.slices import Bytes

DTYPES: dict[torch.dtype, DType] = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


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


def host_shard(tensor: Tensor, layout: Layout) -> Bytes:
    """A tensor to be read: its own memory, or on another device a copy of it in pinned memory."""
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        # Waits for what computes the tensor, and for the copy.
        tensor = pinned.copy_(tensor)
    if tensor.stride(-1) != 1 and tensor.shape[-1] != 1:
        tensor = tensor.contiguous()
    return _bytes_of(tensor, layout)


def result_like(tensor: Tensor) -> Tensor:
    """Zeros on the host to write results to, pinned when they go to another device."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")


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
