"""A small byte-level language model whose attention is a callable of [s, b, h, d] tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

HEADS, KV_HEADS, SIZE = 6, 2, 16
WIDTH = HEADS * SIZE


class Block(nn.Module):
    def __init__(self, attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.attention = attention
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, (HEADS + 2 * KV_HEADS) * SIZE)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[s, b, WIDTH] -> the same."""
        rows, batch, _ = x.shape
        heads = self.qkv(self.norm(x)).view(rows, batch, HEADS + 2 * KV_HEADS, SIZE)
        q, k, v = heads.split([HEADS, KV_HEADS, KV_HEADS], dim=2)
        x = x + self.out(self.attention(q, k, v).reshape(rows, batch, WIDTH))
        return x + self.feed(x)


class Model(nn.Module):
    def __init__(self, attention: Callable[[Tensor, Tensor, Tensor], Tensor], checkpointed: str | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(256, WIDTH)
        self.blocks = nn.ModuleList([Block(attention), Block(attention)])
        self.head = nn.Linear(WIDTH, 256)
        self.checkpointed = checkpointed

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [s, b] -> loss of the next token."""
        x = self.embed(tokens[:-1])
        for block in self.blocks:
            if self.checkpointed is None:
                x = block(x)
            else:
                x = checkpoint(block, x, use_reentrant=self.checkpointed == "reentrant")
        return cross_entropy(self.head(x).flatten(0, 1).float(), tokens[1:].flatten())


def batches(lengths: list[int], batch: int = 2) -> list[Tensor]:
    """Repeating bytes, which a model can learn: int64 [s + 1, b] each."""
    generator = torch.Generator().manual_seed(1)
    pattern = torch.randint(0, 256, (29,), generator=generator)
    return [
        pattern[(torch.arange(length + 1)[:, None] + torch.randint(0, 29, (batch,), generator=generator)) % 29]
        for length in lengths
    ]


def train(model: nn.Module, data: list[Tensor], accumulate: int = 1) -> list[float]:
    """The loss of every batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for number, tokens in enumerate(data, 1):
        loss = model(tokens)
        (loss / accumulate).backward()
        losses.append(loss.item())
        if number % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    return losses
