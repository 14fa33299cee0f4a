"""One model's life at random: lengths, heads, masks and owners that change with every call of one connection."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.cluster import TestCluster
from ulysses_torch import UlyssesContextAttention, connect

from .parity import expect_parity, local_attention, random_inputs, results

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@st.composite
def steps(draw: st.DrawFn) -> dict[str, object]:
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    return {
        # Fewer rows than ranks, and about the kernels' blocks.
        "rows": draw(st.integers(1, 5) | st.sampled_from([31, 32, 33, 63, 64, 65, 127, 128, 129])),
        "batch": draw(st.integers(1, 2)),
        "heads": kv_heads * group,
        "kv_heads": kv_heads,
        "size": draw(st.sampled_from([1, 3, 8, 16, 40])),
        "dtype": draw(st.sampled_from(DTYPES)),
        "causal": draw(st.booleans()),
        "strategy": draw(st.sampled_from([None, "heads", "balanced"])),
        "keep": draw(st.sampled_from(["store", "recompute"])),
        "kv_cache_policy": draw(st.sampled_from([None, "none", "half", "full", "auto"])),
        "layout": draw(st.sampled_from(["sbhd", "bshd"])),
    }


def shape_of(step: dict[str, object]) -> tuple[int, ...]:
    lead = (step["rows"], step["batch"]) if step["layout"] == "sbhd" else (step["batch"], step["rows"])
    return (*lead, step["heads"], step["size"])


def options_of(step: dict[str, object]) -> dict[str, object]:
    names = ("layout", "causal", "strategy", "keep", "kv_cache_policy")
    return {"kv_cache_policy_unaligned": True, **{name: step[name] for name in names}}


@pytest.mark.usefixtures("data_path")
def test_any_sequence_of_steps_is_as_near_to_float64_as_local_attention(cluster: TestCluster) -> None:
    with connect(cluster.address) as connection:

        @given(steps())
        @settings(max_examples=40, deadline=None)
        def one(step: dict[str, object]) -> None:
            # Of a handful of 16-bit elements the largest error is chance, which a search finds, and no measure.
            inputs = random_inputs(shape_of(step), step["kv_heads"], torch.float32)
            attention = UlyssesContextAttention(None, connection, **options_of(step))
            expect_parity(attention, local_attention(step["layout"], causal=step["causal"]), inputs)

        one()


@pytest.mark.usefixtures("data_path")
def test_any_owners_get_the_bits_that_one_gets(cluster: TestCluster) -> None:
    """M owners on 3 ranks, some without a row."""
    sessions = iter(range(1_000_000))

    @given(steps(), st.integers(1, 5), st.randoms(use_true_random=False))
    @settings(max_examples=10, deadline=None)
    def one(step: dict[str, object], count: int, random: object) -> None:
        rows, dim = step["rows"], 0 if step["layout"] == "sbhd" else 1
        cuts = sorted(random.randint(0, rows) for _ in range(count - 1))
        splits = [end - begin for begin, end in zip([0, *cuts], [*cuts, rows], strict=True)]
        inputs = random_inputs(shape_of(step), step["kv_heads"], step["dtype"])
        shards = list(zip(*(tensor.split(splits, dim=dim) for tensor in inputs), strict=True))
        session = f"random-{next(sessions)}"

        def owner(index: int) -> tuple[Tensor, ...]:
            names = {"session": session, "owner_index": index, "owner_count": count}
            with connect(cluster.address, **names) as connection:
                return results(UlyssesContextAttention(None, connection, **options_of(step)), *shards[index])

        with ThreadPoolExecutor(count) as pool:
            parts = list(pool.map(owner, range(count)))
        with connect(cluster.address) as alone:
            whole = results(UlyssesContextAttention(None, alone, **options_of(step)), *inputs)
        for got, want in zip(zip(*parts, strict=True), whole, strict=True):
            assert torch.equal(torch.cat(got, dim=dim), want)

    one()
