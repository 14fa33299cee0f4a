"""The largest case, for `npm run test:torch:full`: minutes of float64 arithmetic."""

import os
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tests.cluster import running_cluster
from ulysses_torch import UlyssesContextAttention, connect

from .parity import FLOOR, random_inputs, results

# PyTorch's bf16 backward takes most of the time, and its largest error over fewer heads only allows less.
PEER_HEADS = 8


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_8190_rows_of_32_heads_on_8_ranks_in_bf16_with_all_gradients() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    inputs = random_inputs((8190, 2, 32, 128), 32, torch.bfloat16)
    with running_cluster(8) as cluster, connect(cluster.address, deadline_ms=600_000) as connected:
        got = results(UlyssesContextAttention(None, connected, causal=True), *inputs)

    def local(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One head of one sample, [s, d]."""
        return scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], is_causal=True)[0, 0]

    worst = torch.zeros(4, dtype=torch.float64)
    peer = torch.zeros(4, dtype=torch.float64)
    for batch, head in product(range(2), range(32)):
        one = [tensor[:, batch, head] for tensor in inputs]
        exact = results(local, *(tensor.double() for tensor in one))
        for index, (want, ours) in enumerate(zip(exact, got, strict=True)):
            worst[index] = max(worst[index], (ours[:, batch, head].double() - want).abs().max())
        if head % PEER_HEADS == 0:
            for index, (want, theirs) in enumerate(zip(exact, results(local, *one), strict=True)):
                peer[index] = max(peer[index], (theirs.double() - want).abs().max())
    assert (worst <= 2 * peer + FLOOR).all(), f"out, dq, dk, dv: {worst} from float64, PyTorch's own {peer}"
