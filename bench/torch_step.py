"""A whole forward and backward from PyTorch tensors, against unaligned Ulysses made of PyTorch and gloo.

Ours: one trainer process and a cluster of 4 ranks. Peer: 4 PyTorch processes (peers/torch_ulysses_step.py). s = 8190,
h = 8, d = 64, causal. Windows of both sides alternate. Writes bench/results/torch.json. It takes about two
minutes; with ULYSSES_DATA_PATH=grpcio it measures the same without native code.

Run: `npm run bench:torch`
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "packages/torch/src"), str(ROOT / "packages/torch")]

from tests.cluster import running_cluster  # noqa: E402
from ulysses_torch import UlyssesContextAttention, connect  # noqa: E402

RANKS, ROWS, HEADS, SIZE = 4, 8190, 8, 64
WINDOWS, REPEATS = 5, 1
#: dtype, must and aim of peer over ours
TARGETS = {"f32": (torch.float32, 1.0, 1.4), "bf16": (torch.bfloat16, 1.5, 2.2)}


class Peer:
    """The peer's processes; they wait until a window is theirs."""

    def __init__(self, dtype: torch.dtype) -> None:
        name = str(dtype).removeprefix("torch.")
        program = str(ROOT / "bench/peers/torch_ulysses_step.py")
        arguments = [str(each) for each in (RANKS, ROWS, HEADS, SIZE, name)]
        self._process = subprocess.Popen(
            [sys.executable, program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def measure(self, repeats: int) -> float:
        """Steps per second."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{repeats}\n")
        self._process.stdin.flush()
        return 1000 / statistics.median(json.loads(self._read())["step"]["ms"])

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def measure(attention: UlyssesContextAttention, dtype: torch.dtype, repeats: int) -> float:
    """Steps per second."""
    q, k, v, dout = (torch.randn(ROWS, 1, HEADS, SIZE).to(dtype) for _ in range(4))
    leaves = [each.requires_grad_() for each in (q, k, v)]
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        torch.autograd.grad(attention(*leaves), leaves, dout)
        times.append(time.perf_counter() - begun)
    return 1 / statistics.median(times)


def main() -> None:
    cases = "cases: " + ", ".join(f"torch {name}" for name in TARGETS)
    parser = argparse.ArgumentParser(
        "npm run bench:torch --",
        description=__doc__,
        epilog=cases,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.parse_args()
    results = []
    with running_cluster(RANKS) as cluster, connect(cluster.address) as connection:
        attention = UlyssesContextAttention(None, connection, causal=True)
        for name, (dtype, must, ambitious) in TARGETS.items():
            with Peer(dtype) as peer:
                # The first window of each warms memory and connections, and is dropped.
                windows = [(measure(attention, dtype, REPEATS), peer.measure(REPEATS)) for _ in range(WINDOWS + 1)][1:]
            results.append(result(name, connection.data_path, windows, must, ambitious))
            print(json.dumps(results[-1], ensure_ascii=False), flush=True)  # noqa: T201
    target = ROOT / "bench/results/torch.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def result(
    name: str, data_path: str, windows: list[tuple[float, float]], must: float, ambitious: float
) -> dict[str, object]:
    ratios = sorted(mine / theirs for mine, theirs in windows)
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty= with changes"]
    return {
        "case": f"torch {name}",
        "what": "forward and backward from PyTorch tensors, s = 8190, h = 8, d = 64, causal, against PyTorch and gloo; "
        f"{data_path} data path",
        "unit": "steps/s",
        "must": must,
        "ambitious": ambitious,
        "lowerIsBetter": False,
        "value": round(statistics.median(mine for mine, _ in windows), 3),
        "peer": round(statistics.median(theirs for _, theirs in windows), 3),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "windows": len(windows),
        "commit": subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "machine": f"{os.cpu_count()} × {processor()}, {memory_gib()} GiB",
        "load": round(os.getloadavg()[0], 1),
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "processor")


def memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


if __name__ == "__main__":
    main()
