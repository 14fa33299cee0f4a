"""A byte-level language model on text files, trained by one process; the attention of every layer runs on a cluster.

    pip install './packages/torch[examples]'
    npx ulysses up --context-parallel-size 4
    python examples/torch_train_lm.py --address 127.0.0.1:7100 --steps 50 README.md docs --compare

`--compare` trains the same model with PyTorch's own attention beside it and prints both losses.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from tqdm import tqdm

import ulysses_torch
from ulysses_torch import DynamicGatherSizeCalculator, UlyssesContextAttention

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
HEADS, KV_HEADS, SIZE, LAYERS = 6, 2, 32, 3
WIDTH = HEADS * SIZE


class Layer(nn.Module):
    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.norm = nn.RMSNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, (HEADS + 2 * KV_HEADS) * SIZE, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.feed = nn.Sequential(
            nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """x: [s, 1, WIDTH]; angles: [s, 1, 1, SIZE / 2]."""
        rows = x.shape[0]
        heads = self.qkv(self.norm(x)).view(rows, 1, HEADS + 2 * KV_HEADS, SIZE)
        q, k, v = heads.split([HEADS, KV_HEADS, KV_HEADS], dim=2)
        out = self.attention(rotate(q, angles), rotate(k, angles), v)
        x = x + self.out(out.reshape(rows, 1, WIDTH))
        return x + self.feed(x)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions: pairs (x[i], x[i + SIZE / 2]) turn by their angle."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Model(nn.Module):
    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, WIDTH)
        self.layers = nn.ModuleList([Layer(attention) for _ in range(LAYERS)])
        self.head = nn.Sequential(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 256))

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [s + 1] -> loss of the next byte."""
        x = self.embed(tokens[:-1])[:, None]
        frequencies = 10_000 ** (-torch.arange(SIZE // 2) / (SIZE // 2))
        angles = (torch.arange(len(x))[:, None] * frequencies)[:, None, None]
        for layer in self.layers:
            x = layer(x, angles)
        return cross_entropy(self.head(x)[:, 0], tokens[1:])


def local_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (each.permute(1, 2, 0, 3) for each in (q, k, v))
    # KV heads are repeated for their group of query heads: PyTorch 2.4 has no `enable_gqa`.
    k, v = (each.repeat_interleave(HEADS // KV_HEADS, dim=1) for each in (k, v))
    return scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3)


def texts(paths: list[Path], longest: int) -> list[Tensor]:
    """Every file, in parts of at most `longest` bytes."""
    files = [file for path in paths for file in (sorted(path.rglob("*.*")) if path.is_dir() else [path])]
    parts = [part for file in files if file.is_file() for part in torch.tensor(list(file.read_bytes())).split(longest)]
    return [part for part in parts if len(part) > 1]


def steps_of(model: Model, data: list[Tensor], rate: float) -> Iterator[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for tokens in data:
        loss = model(tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, help="text files, or folders of them")
    parser.add_argument("--address", default=os.environ.get("ULYSSES_ADDRESS", "127.0.0.1:7100"))
    parser.add_argument("--insecure", action="store_true", help="dial beyond loopback in plaintext")
    parser.add_argument("--job", default="torch-train-lm")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--max-length", type=int, default=1021, help="longest sequence, in bytes")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", action="store_true", help="train with PyTorch's own attention too")
    options = parser.parse_args()

    pool = texts(options.texts, options.max_length + 1)
    if not pool:
        parser.error("texts: no bytes to train on")
    data = random.Random(options.seed).choices(pool, k=options.steps)
    with ulysses_torch.connect(options.address, job=options.job, insecure=options.insecure) as cluster:
        attention = UlyssesContextAttention(
            None, cluster, gather_size_calculator=DynamicGatherSizeCalculator(), causal=True
        )
        torch.manual_seed(options.seed)
        model = Model(attention)
        runs = [steps_of(model, data, options.learning_rate)]
        if options.compare:
            local = Model(local_attention)
            local.load_state_dict(model.state_dict())
            runs.append(steps_of(local, data, options.learning_rate))
        largest = 0.0
        with tqdm(zip(data, zip(*runs, strict=True), strict=True), total=len(data), unit="step") as progress:
            begun, tokens = time.perf_counter(), 0
            for step, (batch, (loss, *others)) in enumerate(progress, 1):
                tokens += len(batch) - 1
                rate = tokens / (time.perf_counter() - begun)
                line = f"step {step:4d}  length {len(batch) - 1:5d}  loss {loss:.4f}"
                for other in others:
                    largest = max(largest, abs(loss - other) / other)
                    line += f"  local {other:.4f}"
                progress.write(line)
                progress.set_postfix_str(f"{rate:.0f} tokens/s")
    if options.compare:
        print(f"losses differ from local attention's by at most {largest:.1e}, relatively")  # noqa: T201


if __name__ == "__main__":
    main()
