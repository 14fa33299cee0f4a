"""Several trainer processes that each hold an unequal shard of one sequence.

    pip install './packages/torch[examples]'
    npx ulysses up --context-parallel-size 3
    ULYSSES_ADDRESS=127.0.0.1:7100 torchrun --nproc-per-node 4 examples/torch_spmd.py --length 1021 --compare

The number of processes need not be the number of ranks, and the length need not divide by either. Each process trains
the same layer on its rows; gradients of weights are summed over the group, as in any data-parallel training.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import mse_loss, scaled_dot_product_attention
from tqdm import tqdm

from ulysses_torch import UlyssesContextAttention

HEADS, KV_HEADS, SIZE = 5, 1, 32
WIDTH = HEADS * SIZE


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, (HEADS + 2 * KV_HEADS) * SIZE)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, attention: nn.Module) -> Tensor:
        """x: [s_local, 1, WIDTH] -> the same."""
        rows = x.shape[0]
        heads = self.qkv(x).view(rows, 1, HEADS + 2 * KV_HEADS, SIZE)
        q, k, v = heads.split([HEADS, KV_HEADS, KV_HEADS], dim=2)
        return self.out(attention(q, k, v).reshape(rows, 1, WIDTH))


class LocalAttention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (each.permute(1, 2, 0, 3) for each in (q, k, v))
        # KV heads are repeated for their group of query heads: PyTorch 2.4 has no `enable_gqa`.
        k, v = (each.repeat_interleave(HEADS // KV_HEADS, dim=1) for each in (k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3)


def shard_sizes(length: int, owners: int) -> list[int]:
    """Unequal on purpose: owner m holds m + 1 parts, and the last one what is left."""
    parts = owners * (owners + 1) // 2
    sizes = [length * (owner + 1) // parts for owner in range(owners - 1)]
    return [*sizes, length - sum(sizes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=1021)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compare", action="store_true", help="compare with one process and local attention")
    options = parser.parse_args()

    dist.init_process_group("gloo")
    owner, owners = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    whole = torch.randn(options.length, 1, WIDTH)
    target = whole.cumsum(0) / (torch.arange(options.length)[:, None, None] + 1)
    sizes = shard_sizes(options.length, owners)
    x, wanted = whole.split(sizes)[owner], target.split(sizes)[owner]

    layer, alone = Layer(), Layer()
    alone.load_state_dict(layer.state_dict())
    attention = UlyssesContextAttention(None, dist.group.WORLD, causal=True)
    optimizers = [torch.optim.SGD(each.parameters(), lr=10.0) for each in (layer, alone)]
    begun = time.perf_counter()
    with tqdm(range(1, options.steps + 1), unit="step", disable=owner != 0) as progress:
        for step in progress:
            # Of this owner's rows; sums over owners are the loss and gradients of the whole sequence.
            loss = mse_loss(layer(x, attention), wanted, reduction="sum") / target.numel()
            loss.backward()
            total = loss.detach()
            for tensor in (total, *(parameter.grad for parameter in layer.parameters())):
                dist.all_reduce(tensor)
            optimizers[0].step()
            optimizers[0].zero_grad()
            line = f"step {step:3d}  rows {sizes}  loss {total.item():.6f}"
            if options.compare and owner == 0:
                reference = mse_loss(alone(whole, LocalAttention()), target)
                reference.backward()
                optimizers[1].step()
                optimizers[1].zero_grad()
                line += f"  one process {reference.item():.6f}"
            progress.write(line) if owner == 0 else None
            progress.set_postfix_str(f"{step * options.length / (time.perf_counter() - begun):.0f} tokens/s")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
