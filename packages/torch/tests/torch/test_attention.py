"""Out and gradients of the module, eager."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.cluster import TestCluster, running_cluster
from ulysses_client.exchange.data_path import DataPathName
from ulysses_torch import (
    Cluster,
    DefaultGatherSizeCalculator,
    GatherSizeCalculator,
    HandleGoneError,
    ShapeMismatchError,
    StepMismatchError,
    UlyssesContextAttention,
    UlyssesError,
    UlyssesWarning,
    UnsupportedError,
    connect,
)

from .parity import expect_parity, local_attention, random_inputs, results

pytestmark = pytest.mark.usefixtures("data_path")


@pytest.fixture
def connection(cluster: TestCluster, data_path: DataPathName) -> Iterator[Cluster]:
    with connect(cluster.address, data_path=data_path) as connected:
        yield connected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["sbhd", "bshd", "thd"])
def test_every_dtype_in_every_layout(connection: Cluster, dtype: torch.dtype, layout: str) -> None:
    shape = {"sbhd": (127, 2, 6, 32), "bshd": (2, 127, 6, 32), "thd": (127, 6, 32)}[layout]
    attention = UlyssesContextAttention(None, connection, layout=layout, causal=True)
    expect_parity(attention, local_attention(layout, causal=True), random_inputs(shape, 2, dtype))


@pytest.mark.parametrize(
    ("rows", "heads", "kv_heads", "size"), [(1, 1, 1, 1), (2, 5, 1, 8), (64, 3, 3, 256), (333, 28, 4, 16)]
)
def test_lengths_and_heads_that_do_not_divide(
    connection: Cluster, rows: int, heads: int, kv_heads: int, size: int
) -> None:
    inputs = random_inputs((rows, 1, heads, size), kv_heads, torch.float32)
    expect_parity(UlyssesContextAttention(None, connection), local_attention("sbhd"), inputs)


def test_a_strategy_a_window_and_a_scale_are_used(connection: Cluster) -> None:
    inputs = random_inputs((100, 1, 4, 16), 4, torch.float32)
    rows, keys = torch.arange(100)[:, None], torch.arange(100)
    window = (keys <= rows) & (keys >= rows - 7)
    attention = UlyssesContextAttention(
        None, connection, causal=True, window_size=(7, -1), softmax_scale=0.5, strategy="balanced"
    )

    def local(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return local_attention("sbhd", window)(q * (0.5 * 16**0.5), k, v)

    expect_parity(attention, local, inputs)
    assert attention.last_outcome is not None
    assert attention.last_outcome.planned.plan.spec.strategy == "balanced"


@pytest.mark.parametrize("scale", [-0.5, 0.0])
def test_a_scale_need_not_be_positive(connection: Cluster, scale: float) -> None:
    attention = UlyssesContextAttention(None, connection, causal=True, softmax_scale=scale)

    def local(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return local_attention("sbhd", causal=True)(q * (scale * 16**0.5), k, v)

    expect_parity(attention, local, random_inputs((50, 1, 4, 16), 2, torch.float32))


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e300, -0.0])
def test_a_scale_that_is_no_float32_is_refused_by_name(connection: Cluster, scale: float) -> None:
    attention = UlyssesContextAttention(None, connection, softmax_scale=scale)
    with pytest.raises(ShapeMismatchError) as refused:
        attention(*random_inputs((8, 1, 2, 16), 2, torch.float32)[:3])
    assert (refused.value.field, refused.value.expected) == ("scale", "a finite float32 other than -0")


def test_packed_samples_do_not_see_each_other(connection: Cluster) -> None:
    cu_seqlens = torch.tensor([0, 50, 51, 51, 130], dtype=torch.int32)
    sample = torch.bucketize(torch.arange(130), cu_seqlens[1:], right=True)
    same = sample[:, None] == sample
    attention = UlyssesContextAttention(None, connection, layout="thd", causal=True)
    expect_parity(
        lambda q, k, v: attention(q, k, v, cu_seqlens_q=cu_seqlens),
        local_attention("thd", same, causal=True),
        random_inputs((130, 4, 16), 2, torch.float32),
    )


@pytest.mark.parametrize("form", ["keys", "matrix"])
def test_padding_on_either_side_is_not_seen(connection: Cluster, form: str) -> None:
    keys = torch.ones(3, 40, dtype=torch.bool)
    keys[0, :11] = False
    keys[1, 29:] = False
    matrix = keys[:, None, None, :] & keys[:, None, :, None] & torch.ones(40, 40, dtype=torch.bool).tril()
    attention = UlyssesContextAttention(None, connection, layout="bshd", causal=form == "keys")
    inputs = random_inputs((3, 40, 2, 16), 2, torch.float32)
    mask = keys if form == "keys" else matrix
    expect_parity(lambda q, k, v: attention(q, k, v, mask), local_attention("bshd", matrix), inputs)


def test_more_keys_than_queries_are_aligned_at_the_end(connection: Cluster) -> None:
    q, _, _, dout = random_inputs((20, 1, 3, 16), 3, torch.float32)
    _, k, v, _ = random_inputs((55, 1, 3, 16), 3, torch.float32, seed=1)
    attention = UlyssesContextAttention(None, connection, causal=True)
    expect_parity(attention, local_attention("sbhd", causal=True), (q, k, v, dout))


def test_tensors_of_any_stride_are_taken_as_they_are(connection: Cluster) -> None:
    inputs = random_inputs((60, 2, 4, 16), 4, torch.float32)
    attention = UlyssesContextAttention(None, connection, causal=True)
    plain = results(attention, *inputs)
    strided = tuple(tensor.permute(1, 3, 2, 0).contiguous().permute(3, 0, 2, 1) for tensor in inputs)
    assert not strided[0].is_contiguous()

    def of_views(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(*(tensor.permute(1, 3, 2, 0).contiguous().permute(3, 0, 2, 1) for tensor in (q, k, v)))

    for got, want in zip(results(of_views, *strided), plain, strict=True):
        assert torch.equal(got, want)


class FromKwargs(GatherSizeCalculator):
    def calculate(self, *args: object, **kwargs: object) -> int | None:
        size = kwargs.get("gather_size")
        return size if isinstance(size, int) else None


def test_rows_beyond_a_custom_gather_size_are_zero(connection: Cluster) -> None:
    inputs = random_inputs((50, 1, 3, 16), 3, torch.float32)
    attention = UlyssesContextAttention(None, connection, gather_size_calculator=FromKwargs(), causal=True)
    got = results(lambda q, k, v: attention(q, k, v, gather_size=41), *inputs)
    whole = results(UlyssesContextAttention(None, connection, causal=True), *(tensor[:41] for tensor in inputs))
    for result, want in zip(got, whole, strict=True):
        assert not result[41:].any()
        assert torch.equal(result[:41], want)
    with pytest.raises(ShapeMismatchError) as refused:
        attention(*inputs[:3], gather_size=51)
    assert refused.value.details["calculator"] == "FromKwargs"


def test_lengths_say_how_much_of_a_padded_batch_is_exchanged(connection: Cluster) -> None:
    lengths = torch.tensor([30, 12])
    keys = torch.arange(50) < lengths[:, None]
    seen = keys[:, None, None, :] & keys[:, None, :, None]
    attention = UlyssesContextAttention(None, connection, layout="bshd", causal=True)
    expect_parity(
        lambda q, k, v: attention(q, k, v, attention_mask_lengths=lengths),
        local_attention("bshd", seen, causal=True),
        random_inputs((2, 50, 3, 16), 1, torch.float32),
    )
    assert attention.last_outcome is not None
    assert attention.last_outcome.planned.padding_rows_not_exchanged == 40


def test_the_default_calculator_is_aligned_and_says_what_else_to_use(connection: Cluster) -> None:
    aligned = UlyssesContextAttention(None, connection, gather_size_calculator=DefaultGatherSizeCalculator())
    inputs = random_inputs((60, 1, 3, 16), 3, torch.float32)
    expect_parity(aligned, local_attention("sbhd"), inputs)
    with pytest.raises(ShapeMismatchError, match="DynamicGatherSizeCalculator"):
        aligned(*random_inputs((60, 1, 4, 16), 4, torch.float32)[:3])


@pytest.mark.parametrize("splits", [[0, 40, 41], [30, 29, 28, 27, 26]])
def test_owners_of_any_number_hold_the_sequence(cluster: TestCluster, splits: list[int]) -> None:
    inputs = random_inputs((sum(splits), 2, 5, 16), 1, torch.float32)
    shards = list(zip(*(tensor.split(splits) for tensor in inputs), strict=True))

    def owner(index: int) -> tuple[Tensor, ...]:
        with connect(
            cluster.address, session=f"owners-{splits}", owner_index=index, owner_count=len(splits)
        ) as connected:
            return results(UlyssesContextAttention(None, connected, causal=True), *shards[index])

    with ThreadPoolExecutor(len(splits)) as pool:
        parts = list(pool.map(owner, range(len(splits))))
    with connect(cluster.address) as alone:
        whole = expect_parity(
            UlyssesContextAttention(None, alone, causal=True), local_attention("sbhd", causal=True), inputs
        )
    for got, want in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(got), want)


@pytest.mark.parametrize("form", ["keys", "matrix"])
def test_owners_with_a_mask_of_the_whole_sequence_get_what_one_gets(cluster: TestCluster, form: str) -> None:
    splits = [11, 0, 20, 9]
    keys = torch.ones(2, 40, dtype=torch.bool)
    keys[0, :13] = False
    keys[1, 29:] = False
    matrix = keys[:, None, None, :] & keys[:, None, :, None] & torch.ones(40, 40, dtype=torch.bool).tril()
    inputs = random_inputs((40, 2, 5, 16), 1, torch.float32)
    shards = list(zip(*(tensor.split(splits) for tensor in inputs), strict=True))

    def attend(connected: Cluster, shard: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        attention = UlyssesContextAttention(None, connected, causal=form == "keys")
        return results(lambda q, k, v: attention(q, k, v, keys if form == "keys" else matrix), *shard)

    def owner(index: int) -> tuple[Tensor, ...]:
        names = {"session": f"masked-{form}", "owner_index": index, "owner_count": len(splits)}
        with connect(cluster.address, **names) as connected:
            return attend(connected, shards[index])

    with ThreadPoolExecutor(len(splits)) as pool:
        parts = list(pool.map(owner, range(len(splits))))
    with connect(cluster.address) as alone:
        whole = attend(alone, inputs)
    local = results(local_attention("sbhd", matrix), *inputs)
    for got, want, near in zip(zip(*parts, strict=True), whole, local, strict=True):
        assert torch.equal(torch.cat(got), want)
        torch.testing.assert_close(want, near, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["keys", "matrix"])
@pytest.mark.parametrize(
    ("q_splits", "kv_splits"),
    [([5, 15], [40, 20]), ([31, 29], [8, 12]), ([7, 33], [30, 10])],
    ids=["fewer", "more", "as many in all"],
)
def test_owners_with_other_queries_than_keys_get_what_one_gets(
    cluster: TestCluster, q_splits: list[int], kv_splits: list[int], form: str
) -> None:
    """No owner knows how many queries there are."""
    s_q, s_kv = sum(q_splits), sum(kv_splits)
    q, _, _, dout = random_inputs((s_q, 2, 4, 16), 2, torch.float32)
    _, k, v, _ = random_inputs((s_kv, 2, 4, 16), 2, torch.float32, seed=1)
    keys = torch.ones(2, s_kv, dtype=torch.bool)
    keys[0, :6] = False
    keys[1, s_kv - 5 :] = False
    seen = keys[:, None, None, :] & torch.ones(s_q, s_kv, dtype=torch.bool).tril(s_kv - s_q)
    if s_q == s_kv:
        seen = seen & keys[:, None, :, None]

    def attend(connected: Cluster, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attention = UlyssesContextAttention(None, connected, causal=form == "keys")
        return attention(q, k, v, keys if form == "keys" else seen)

    def owner(index: int) -> tuple[Tensor, ...]:
        names = {"session": f"crossing-{s_q}-{form}", "owner_index": index, "owner_count": 2}
        shards = (each.split(splits)[index] for each, splits in zip((q, k, v, dout), cuts, strict=True))
        with connect(cluster.address, **names) as connected:
            return results(partial(attend, connected), *shards)

    cuts = (q_splits, kv_splits, kv_splits, q_splits)
    with ThreadPoolExecutor(2) as pool:
        parts = [torch.cat(each) for each in zip(*pool.map(owner, range(2)), strict=True)]
    with connect(cluster.address) as alone:
        whole = expect_parity(partial(attend, alone), local_attention("sbhd", seen), (q, k, v, dout))
    assert all(torch.equal(got, want) for got, want in zip(parts, whole, strict=True))


@pytest.mark.parametrize("killed", ["forward", "backward"])
def test_a_killed_rank_does_not_change_a_bit(mortal: TestCluster, killed: str) -> None:
    inputs = random_inputs((3000, 1, 5, 32), 1, torch.float32)
    leaves = [tensor.requires_grad_() for tensor in inputs[:3]]
    replays: list[UlyssesError] = []
    heard = lambda error, _: replays.append(error)
    with connect(mortal.address, on_replay=heard) as connected, ThreadPoolExecutor(1) as pool:
        attention = UlyssesContextAttention(None, connected, causal=True)
        alone = results(attention, *inputs)
        replays.clear()
        mortal.wait_idle()

        def kill() -> None:
            mortal.wait_running()
            mortal.kill(1)

        killing = pool.submit(kill) if killed == "forward" else None
        out = attention(*leaves)
        if killing is None:
            mortal.wait_idle()
            killing = pool.submit(kill)
        gradients = torch.autograd.grad(out, leaves, inputs[3])
        killing.result()
        mortal.wait_complete()
    assert replays
    for got, want in zip((out, *gradients), alone, strict=True):
        assert torch.equal(got, want)


def test_what_ranks_keep_follows_the_graph(mortal: TestCluster) -> None:
    inputs = random_inputs((64, 1, 4, 16), 4, torch.float32)
    with connect(mortal.address) as connected:
        attention = UlyssesContextAttention(None, connected)

        def wait_for_empty_store() -> None:
            for _ in range(1000):
                if mortal.store_bytes() == 0:
                    return
            raise AssertionError("the ranks still keep a forward")

        attention(*inputs[:3])
        with torch.no_grad():
            attention(*(tensor.requires_grad_() for tensor in inputs[:3]))
        assert mortal.store_bytes() == 0
        out = attention(*inputs[:3])
        assert mortal.store_bytes() > 0
        del out
        wait_for_empty_store()
        attention(*inputs[:3]).sum().backward()
        wait_for_empty_store()


@pytest.mark.parametrize(
    "options", [{"keep": "recompute"}, *({"kv_cache_policy": policy} for policy in ("none", "half", "full", "auto"))]
)
def test_what_is_kept_changes_no_bit(connection: Cluster, options: dict[str, str]) -> None:
    inputs = random_inputs((61, 1, 5, 16), 1, torch.float32)
    want = results(UlyssesContextAttention(None, connection, causal=True), *inputs)
    attention = UlyssesContextAttention(None, connection, causal=True, kv_cache_policy_unaligned=True, **options)
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(results(attention, *inputs), want, strict=True))


def test_a_policy_that_aligns_the_exchange_says_so_once(cluster: TestCluster) -> None:
    with connect(cluster.address) as connected:
        attention = UlyssesContextAttention(None, connected, kv_cache_policy="half")
        inputs = random_inputs((60, 1, 3, 16), 3, torch.float32)
        with pytest.warns(UlyssesWarning, match="policy half makes the exchange aligned") as warned:
            [results(attention, *inputs) for _ in range(2)]
        assert len(warned) == 1
        with pytest.raises(ShapeMismatchError):
            attention(*random_inputs((60, 1, 4, 16), 4, torch.float32)[:3])


def test_a_full_store_turns_to_recomputing_and_says_so_once() -> None:
    inputs = random_inputs((256, 1, 4, 32), 4, torch.float32)
    with running_cluster(2, "--store-bytes", "1MiB") as small, connect(small.address) as connected:
        attention = UlyssesContextAttention(None, connected, causal=True)
        want = results(attention, *inputs)
        leaves = [tensor.requires_grad_() for tensor in inputs[:3]]
        with pytest.warns(UlyssesWarning, match="recomputed") as warned:
            outs = [attention(*leaves) for _ in range(8)]
        assert len(warned) == 1
        for out in outs:
            got = (out, *torch.autograd.grad(out, leaves, inputs[3]))
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_a_graph_that_is_retained_gives_the_same_gradients_again(connection: Cluster) -> None:
    q, k, v, dout = random_inputs((64, 1, 4, 16), 4, torch.float32)
    leaves = [tensor.requires_grad_() for tensor in (q, k, v)]
    out = UlyssesContextAttention(None, connection)(*leaves)
    first = torch.autograd.grad(out, leaves, dout, retain_graph=True)
    second = torch.autograd.grad(out, leaves, dout)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_gradients_of_gradients_are_refused_by_name(connection: Cluster) -> None:
    q, k, v, dout = random_inputs((8, 1, 2, 16), 2, torch.float32)
    q.requires_grad_()
    out = UlyssesContextAttention(None, connection)(q, k, v)
    (dq,) = torch.autograd.grad(out, q, dout.requires_grad_(), create_graph=True)
    with pytest.raises(UnsupportedError) as refused:
        torch.autograd.grad(dq.sum(), dout)
    assert refused.value.field == "create_graph"


@pytest.mark.parametrize(
    ("call", "error", "field"),
    [
        (lambda a, q, k, v: a(q, k, v, dropout_p=0.1), UnsupportedError, "dropout_p"),
        (lambda a, q, k, v: a(q, k, v, dropout=0.3), UnsupportedError, "dropout"),
        (lambda a, q, k, v: a(q, k, v, attention_bias=torch.zeros(8)), UnsupportedError, "attention_bias"),
        (lambda a, q, k, v: a(q, k, v, attn_bias=torch.zeros(8)), UnsupportedError, "attn_bias"),
        (lambda a, q, k, v: a(q, k, v, attn_mask=torch.zeros(8)), UnsupportedError, "attn_mask"),
        (lambda a, q, k, v: a(q, k, v, attention_msk=torch.ones(8) > 0), UnsupportedError, "attention_msk"),
        (lambda a, q, k, v: a(q, k, v, is_causal=True), UnsupportedError, "is_causal"),
        (lambda a, q, k, v: a.start(q, k, v, gather_size=8), UnsupportedError, "gather_size"),
        (lambda a, q, k, v: a(q, k, v, torch.zeros(8)), UnsupportedError, "attention_mask.dtype"),
        (lambda a, q, k, v: a(q.double(), k.double(), v.double()), UnsupportedError, "q.dtype"),
        (lambda a, q, k, v: a(q, k.bfloat16(), v), ShapeMismatchError, "k.dtype"),
        (lambda a, q, k, v: a(q, k, v[:4]), ShapeMismatchError, "v.shape"),
        (lambda a, q, k, v: a(q[0], k, v), ShapeMismatchError, "q.shape"),
        (lambda a, q, k, v: a(q, k[..., :8], v[..., :8]), ShapeMismatchError, "k.shape[3]"),
        (lambda a, q, k, v: a(q[:, :, :1], k, v), ShapeMismatchError, "kvHeads"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(
    connection: Cluster, call: object, error: type[Exception], field: str
) -> None:
    attention = UlyssesContextAttention(None, connection)
    with pytest.raises(error) as refused:
        call(attention, *random_inputs((8, 1, 2, 16), 2, torch.float32)[:3])
    assert refused.value.field == field


def test_a_keyword_that_nobody_reads_is_refused_with_what_there_is(connection: Cluster) -> None:
    inputs = random_inputs((8, 1, 3, 16), 3, torch.float32)[:3]
    aligned = UlyssesContextAttention(None, connection, gather_size_calculator=DefaultGatherSizeCalculator())
    with pytest.raises(UnsupportedError) as refused:
        aligned(*inputs, is_causal=True)
    assert refused.value.value == "True"
    assert "attention_mask, attention_mask_lengths, cu_seqlens_q, cu_seqlens_kv" in (refused.value.expected or "")
    with pytest.raises(UnsupportedError) as refused:
        aligned(*inputs, attn_mask=torch.zeros(1, 8))
    assert refused.value.value == '"a tensor, torch.float32 [1, 8]"'
    assert refused.value.expected == "a boolean attention_mask: biases are not computed"
    # What says that nothing is dropped or added is no request.
    attention = UlyssesContextAttention(None, connection)
    assert torch.equal(attention(*inputs, dropout=0.0, attention_bias=None), attention(*inputs))


def test_a_calculator_of_ones_own_may_read_any_keyword_but_none_that_changes_results(connection: Cluster) -> None:
    inputs = random_inputs((8, 1, 3, 16), 3, torch.float32)[:3]
    attention = UlyssesContextAttention(None, connection, gather_size_calculator=FromKwargs())
    assert torch.equal(attention(*inputs, gather_size=8, is_causal=True), attention(*inputs, gather_size=8))
    for keyword, value in (("dropout", 0.3), ("attn_bias", torch.zeros(8))):
        with pytest.raises(UnsupportedError) as refused:
            attention(*inputs, **{keyword: value})
        assert refused.value.field == keyword


def test_autocast_leaves_float64_alone_and_it_is_refused(connection: Cluster) -> None:
    inputs = (tensor.double() for tensor in random_inputs((8, 1, 2, 16), 2, torch.float32)[:3])
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(UnsupportedError) as refused:
        UlyssesContextAttention(None, connection)(*inputs)
    assert refused.value.field == "q.dtype"


def test_options_that_are_not_computed_are_refused(connection: Cluster) -> None:
    for options, field in (
        ({"core_attention": "flash"}, "core_attention"),
        ({"dropout_p": 0.1}, "dropout_p"),
        ({"layout": "bhsd"}, "layout"),
        ({"keep": "all"}, "keep"),
        ({"kv_cache_policy": "quarter"}, "kv_cache_policy"),
        ({"cp_group": "127.0.0.1:7100"}, "cp_group"),
    ):
        with pytest.raises(UnsupportedError) as refused:
            UlyssesContextAttention(**{"core_attention": None, "cp_group": connection, **options})
        assert refused.value.field == field
    with pytest.raises(ShapeMismatchError):
        UlyssesContextAttention(None, connection, causal=True, window_size=(3, 3))


def test_wrong_shapes_between_owners_name_the_owner(cluster: TestCluster) -> None:
    def owner(index: int) -> Exception | None:
        with connect(cluster.address, session="shapes", owner_index=index, owner_count=3) as connected:
            heads = 4 if index == 2 else 2
            try:
                UlyssesContextAttention(None, connected)(*random_inputs((8, 1, heads, 16), heads, torch.float32)[:3])
            except StepMismatchError as error:
                return error
            return None

    with ThreadPoolExecutor(3) as pool:
        assert {error and error.peer for error in pool.map(owner, range(3))} == {"owner 2"}


def test_a_forward_whose_connection_was_closed_says_so(cluster: TestCluster) -> None:
    q, k, v, dout = random_inputs((8, 1, 2, 16), 2, torch.float32)
    with connect(cluster.address) as connected:
        out = UlyssesContextAttention(None, connected)(q.requires_grad_(), k, v)
    with pytest.raises(Exception, match="closed") as refused:
        out.backward(dout)
    assert not isinstance(refused.value, HandleGoneError)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: staging through pinned memory was not run")
def test_cuda_tensors_give_the_bits_of_host_tensors(connection: Cluster) -> None:
    inputs = random_inputs((127, 2, 6, 32), 2, torch.bfloat16)
    attention = UlyssesContextAttention(None, connection, causal=True)
    there = results(attention, *(tensor.cuda() for tensor in inputs))
    for got, want in zip(there, results(attention, *inputs), strict=True):
        assert got.device.type == "cuda"
        assert torch.equal(got.cpu(), want)
