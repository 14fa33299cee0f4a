"""Peer: what a user would run instead. PyTorch processes, gloo all_to_all_single with uneven splits (unaligned Ulysses
as MindSpeed does it), scaled_dot_product_attention on the gathered sequence, autograd backward. One thread per process.

Usage: torch_ulysses_step.py PROCESSES ROWS HEADS HEAD_SIZE DTYPE

Reads one number of steps per line from stdin and answers each with one JSON line: milliseconds of every forward and of
every whole step, causal, batch 1. The first line says `ready`.
"""

import json
import os
import socket
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional


def split_sizes(total: int, parts: int) -> list[int]:
    quotient, remainder = divmod(total, parts)
    return [quotient + (part < remainder) for part in range(parts)]


def all_to_all(sent: torch.Tensor, received: torch.Tensor, outs: list[int], ins: list[int]) -> None:
    if sent.dtype == torch.bfloat16:
        # gloo has no 16-bit type.
        sent, received = sent.view(torch.int32), received.view(torch.int32)
        outs, ins = [n // 2 for n in outs], [n // 2 for n in ins]
    dist.all_to_all_single(received, sent, outs, ins)


def exchange(x: torch.Tensor, rows: list[int], heads: list[int], scatters_heads: bool, rank: int) -> torch.Tensor:
    """[s_local, b, h, d] -> [s, b, h_local, d], or back."""
    batch, size = x.shape[1], x.shape[3]
    if scatters_heads:
        sent = torch.cat([part.reshape(-1) for part in x.split(heads, 2)])
        ins = [x.shape[0] * batch * h * size for h in heads]
        outs = [s * batch * heads[rank] * size for s in rows]
        received = torch.empty(sum(outs), dtype=x.dtype)
        all_to_all(sent, received, outs, ins)
        return received.view(sum(rows), batch, heads[rank], size)
    ins = [s * batch * heads[rank] * size for s in rows]
    outs = [rows[rank] * batch * h * size for h in heads]
    received = torch.empty(sum(outs), dtype=x.dtype)
    all_to_all(x.reshape(-1), received, outs, ins)
    parts = zip(received.split(outs), heads, strict=True)
    return torch.cat([part.view(rows[rank], batch, h, size) for part, h in parts], 2)


class Exchange(torch.autograd.Function):
    """The exchange, whose gradient is the exchange the other way."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, rows: list[int], heads: list[int], scatters_heads: bool, rank: int
    ) -> torch.Tensor:
        ctx.arguments = (rows, heads, scatters_heads, rank)
        return exchange(x, rows, heads, scatters_heads, rank)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, heads, scatters_heads, rank = ctx.arguments
        back = exchange(gradients[0].contiguous(), rows, heads, not scatters_heads, rank)
        return back, None, None, None, None


def member(rank: int, processes: int, s: int, h: int, d: int, dtype: torch.dtype, port: int, commands: int) -> None:
    # A session of its own, like every rank has: Linux shares a busy machine by session, and nobody should get less.
    os.setsid()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    rows, heads = split_sizes(s, processes), split_sizes(h, processes)
    torch.manual_seed(rank)
    q, k, v = (torch.randn(rows[rank], 1, h, d).to(dtype).requires_grad_() for _ in range(3))
    dout = torch.randn(rows[rank], 1, h, d).to(dtype)
    steps = torch.zeros(1, dtype=torch.int64)
    lines = os.fdopen(commands) if rank == 0 else None
    if rank == 0:
        print("ready", flush=True)  # noqa: T201
    while True:
        if lines is not None:
            steps[0] = int(lines.readline() or 0)
        dist.broadcast(steps, 0)
        if steps.item() == 0:
            break
        forwards, wholes = [], []
        for _ in range(int(steps.item())):
            q.grad = k.grad = v.grad = None
            dist.barrier()
            began = time.perf_counter()
            gathered = (Exchange.apply(x, rows, heads, True, rank) for x in (q, k, v))
            # [s, b, h_local, d] -> [b, h_local, s, d]
            out = functional.scaled_dot_product_attention(*(x.permute(1, 2, 0, 3) for x in gathered), is_causal=True)
            out = Exchange.apply(out.permute(2, 0, 1, 3).contiguous(), rows, heads, False, rank)
            dist.barrier()
            forwards.append((time.perf_counter() - began) * 1e3)
            out.backward(dout)
            dist.barrier()
            wholes.append((time.perf_counter() - began) * 1e3)
        if rank == 0:
            print(json.dumps({"forward": {"ms": forwards}, "step": {"ms": wholes}}), flush=True)  # noqa: T201
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free_port = probe.getsockname()[1]
    count, s, h, d = map(int, sys.argv[1:5])
    # Forked, because a spawned process has no stdin; the copy outlives multiprocessing's closing of it.
    arguments = (count, s, h, d, getattr(torch, sys.argv[5]), free_port, os.dup(0))
    mp.start_processes(member, arguments, nprocs=count, start_method="fork")
