"""A whole forward and backward from PyTorch tensors, against unaligned Ulysses made of PyTorch and gloo.

Ours: one trainer process and a cluster of 4 ranks. Peer: 4 PyTorch processes, `all_to_all_single` with uneven splits
around `scaled_dot_product_attention`. s = 8190, h = 8, d = 64, causal. Windows of both sides alternate. Writes
bench/results/torch.json.

Run: `npm run bench:torch`
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "packages/torch/src"), str(ROOT / "packages/torch")]

from tests.cluster import running_cluster  # noqa: E402
from ulysses_client.plan import split_sizes  # noqa: E402
from ulysses_torch import UlyssesContextAttention, connect  # noqa: E402

RANKS, ROWS, HEADS, SIZE = 4, 8190, 8, 64
WINDOWS, REPEATS = 3, 1
TARGETS = {"f32": (torch.float32, 1.0, 1.4), "bf16": (torch.bfloat16, 1.5, 2.2)}


class Exchange(torch.autograd.Function):
    """[s_local, b, h, d] -> [s, b, h_local, d], or back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: list[int], heads: list[int], scatter_heads: bool) -> Tensor:
        ctx.arguments = rows, heads, scatter_heads
        return exchange(x, rows, heads, scatter_heads)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, heads, scatter_heads = ctx.arguments
        return exchange(gradient.contiguous(), rows, heads, not scatter_heads), None, None, None


def exchange(x: Tensor, rows: list[int], heads: list[int], scatter_heads: bool) -> Tensor:
    rank, batch, size = dist.get_rank(), x.shape[1], x.shape[3]
    mine = [rows[rank] * batch * each * size for each in heads]
    theirs = [each * batch * heads[rank] * size for each in rows]
    if scatter_heads:
        packed = torch.cat([part.reshape(-1) for part in x.split(heads, 2)])
        return all_to_all(packed, mine, theirs).view(sum(rows), batch, heads[rank], size)
    parts = all_to_all(x.reshape(-1), theirs, mine).split(mine)
    return torch.cat([part.view(rows[rank], batch, each, size) for part, each in zip(parts, heads, strict=True)], 2)


def all_to_all(sent: Tensor, sizes: list[int], received_sizes: list[int]) -> Tensor:
    received = torch.empty(sum(received_sizes), dtype=sent.dtype)
    # gloo has no 16-bit type.
    pair = 1 if sent.dtype == torch.float32 else 2
    views = [received, sent] if pair == 1 else [received.view(torch.int32), sent.view(torch.int32)]
    dist.all_to_all_single(*views, [size // pair for size in received_sizes], [size // pair for size in sizes])
    return received


def peer(rank: int, store: str, pipes: list[Connection]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    rows, heads = split_sizes(ROWS, RANKS), split_sizes(HEADS, RANKS)

    def attention(*tensors: Tensor) -> Tensor:
        q, k, v = (Exchange.apply(each, rows, heads, True).permute(1, 2, 0, 3) for each in tensors)
        out = scaled_dot_product_attention(q, k, v, is_causal=True)
        return Exchange.apply(out.permute(2, 0, 1, 3).contiguous(), rows, heads, False)

    while (name := pipes[rank].recv()) is not None:
        step = steps_of(attention, rows[rank], TARGETS[name][0])
        times = []
        for _ in range(REPEATS + 1):
            dist.barrier()
            begun = time.perf_counter()
            step()
            dist.barrier()
            times.append(time.perf_counter() - begun)
        pipes[rank].send(statistics.median(times[1:]))
    dist.destroy_process_group()


def steps_of(attention: Callable[..., Tensor], rows: int, dtype: torch.dtype) -> Callable[[], None]:
    q, k, v, dout = (torch.randn(rows, 1, HEADS, SIZE).to(dtype) for _ in range(4))
    leaves = [each.requires_grad_() for each in (q, k, v)]
    return lambda: (torch.autograd.grad(attention(*leaves), leaves, dout), None)[1]


def measure(step: Callable[[], None]) -> float:
    times = []
    for _ in range(REPEATS + 1):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def main() -> None:
    results = []
    store = f"/tmp/torch-step-{os.getpid()}"
    ours_ends, peer_ends = zip(*(mp.Pipe() for _ in range(RANKS)), strict=True)
    peers = mp.spawn(peer, (store, list(peer_ends)), nprocs=RANKS, join=False)
    with running_cluster(RANKS) as cluster, connect(cluster.address) as connection:
        attention = UlyssesContextAttention(None, connection, causal=True)
        for name, (dtype, must, ambitious) in TARGETS.items():
            windows = []
            for _ in range(WINDOWS):
                mine = measure(steps_of(attention, ROWS, dtype))
                for pipe in ours_ends:
                    pipe.send(name)
                theirs = max(pipe.recv() for pipe in ours_ends)
                windows.append((mine * 1000, theirs * 1000))
            results.append(result(name, windows, must, ambitious))
            print(json.dumps(results[-1]), flush=True)  # noqa: T201
    for pipe in ours_ends:
        pipe.send(None)
    peers.join()
    Path(store).unlink(missing_ok=True)
    target = ROOT / "bench/results/torch.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n")


def result(name: str, windows: list[tuple[float, float]], must: float, ambitious: float) -> dict[str, object]:
    ratios = sorted(theirs / mine for mine, theirs in windows)
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty= with changes"]
    return {
        "case": name,
        "what": "forward and backward from PyTorch tensors, against PyTorch and gloo",
        "unit": "ms",
        "must": must,
        "ambitious": ambitious,
        "lowerIsBetter": True,
        "value": round(statistics.median(mine for mine, _ in windows), 1),
        "peer": round(statistics.median(theirs for _, theirs in windows), 1),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "windows": len(windows),
        "commit": subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "machine": f"{os.cpu_count()} × {processor()}, torch {torch.__version__}",
        "load": round(os.getloadavg()[0], 1),
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "processor")


if __name__ == "__main__":
    main()
