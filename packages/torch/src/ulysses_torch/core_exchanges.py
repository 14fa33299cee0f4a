"""The exchanges around a core attention of the trainer's own, as nodes of its graph.

All owners make the same calls in the same order, in forward and in backward: an owner without a head exchanges like the
others, but has nothing to attend.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ulysses_client.attention_step import start_call
from ulysses_client.call_limits import CallLimits, limits_from_now
from ulysses_client.cluster import Cluster
from ulysses_client.exchange_step import ExchangeCall, ExchangeOutcome, ReverseCall, run_exchange, run_reverse
from ulysses_client.pending_call import side_by_side
from ulysses_client.plan import HeadRouting, kv_head_of_q_head, route_heads
from ulysses_client.wire.convert import ExchangeView, StepKey

from .shards import DTYPES, dense_bytes, tensor_of
from .way_back import WayBack, first_order

#: q, k, v and, per query head, the head of k and v that it reads.
Attend = Callable[[Tensor, Tensor, Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class CoreGatherSizes:
    """How long the gathered sequences are; None: as long as all shards together."""

    q: int | None
    kv: int | None
    aligned: bool


class CoreCall:
    """One forward and its backward.

    Its four exchanges are numbered when it begins: owners finish their cores in any order.
    """

    def __init__(self, cluster: Cluster, rows: int, heads: int) -> None:
        self.cluster = cluster
        #: Dimensions of q, k and v: the sequence's and the heads'.
        self.rows = rows
        self.heads = heads
        self._started = {name: start_call(cluster) for name in ("q", "k", "v", "out")}
        self._ways: dict[str, WayBack] = {}
        self._gathered: dict[str, ExchangeOutcome] = {}
        self.last: ExchangeOutcome | None = None
        #: Between backward's two exchanges.
        self.core_runs_backward = False
        self._routing = HeadRouting((), ())
        self._words = ""

    def attend(self, core: Attend, q: Tensor, k: Tensor, v: Tensor, sizes: CoreGatherSizes, learns: bool) -> Tensor:
        """This owner's rows of every head of q, k and v -> its rows of out. `learns`: it has gradients of its own."""
        heads, kv_heads = q.shape[self.heads], k.shape[self.heads]
        owner = self.cluster.options.owner_index
        self._routing = route_heads(heads, kv_heads, self.cluster.options.owner_count)
        self._words = json.dumps({"q_heads": heads, "kv_heads": kv_heads})
        gathered_q, gathered_k, gathered_v, token = _Gather.apply(self, sizes, q, k, v)
        if learns and not token.requires_grad:
            token = torch.empty(0, requires_grad=True)
        out, mine = gathered_q, self._routing.q_heads[owner]
        if mine.begin < mine.end:
            reads = kv_head_of_q_head(mine, self._routing.kv_heads[owner], heads // kv_heads)
            try:
                out = core(gathered_q, gathered_k, gathered_v, reads)
            except Exception as error:
                self._tell(self._started["out"].key, f"the core attention failed: {str(error)[:200]}")
                raise
        returned: Tensor = _Return.apply(self, out, token, q.shape[self.rows])
        return returned

    def gather(self, sizes: CoreGatherSizes, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Some rows of every head -> every row of some heads."""
        limits = self._limits("q")

        def one(name: str, tensor: Tensor, each: CallLimits) -> ExchangeOutcome:
            of_q = name == "q"
            view = ExchangeView(
                dtype=DTYPES[tensor.dtype],
                shape=tuple(tensor.shape),
                scatter_dim=self.heads,
                gather_dim=self.rows,
                gather_size=sizes.q if of_q else sizes.kv,
                aligned=sizes.aligned,
                scatter_ranges=self._routing.q_heads if of_q else self._routing.kv_heads,
                gather_ranges=None,
                purpose=self._purpose(name),
            )
            return run_exchange(self.cluster, self._started[name].key, ExchangeCall(view, dense_bytes(tensor)), each)

        works = [partial(one, name, tensor) for name, tensor in tensors.items()]
        results = []
        for (name, tensor), outcome in zip(tensors.items(), side_by_side(self.cluster, limits, works), strict=True):
            key = self._started[name].key
            self._gathered[name] = outcome
            self._ways[name] = WayBack(self.cluster, key, outcome, tensor.shape[self.rows])
            results.append(tensor_of(outcome.result, tensor.dtype, tensor.device))
        return results

    def give_back(self, out: Tensor, rows: int) -> Tensor:
        """Every row of some heads -> some rows of every head."""
        key = self._started["out"].key
        back = ReverseCall(DTYPES[out.dtype], rows, self._purpose("out"))
        spec = self._gathered["q"].spec
        # The core took its own time: the owners wait for the slowest of it.
        outcome = run_reverse(self.cluster, key, spec, dense_bytes(out), back, self._limits())
        self.last = outcome
        self._ways["out"] = WayBack(self.cluster, key, outcome, out.shape[self.heads])
        return tensor_of(outcome.result, out.dtype, out.device)

    def gather_gradient(self, dout: Tensor) -> Tensor:
        gradient = self._ways["out"].gradient(dout, self._limits(), self._purpose("dout"))
        self.core_runs_backward = True
        _EndOfBackward.watch(self)
        return gradient

    def give_back_gradients(self, gradients: Mapping[str, Tensor]) -> list[Tensor]:
        """dq as it is; dk and dv travel as float32, and what several owners have of one head is summed."""
        self.core_runs_backward = False

        def one(name: str, gradient: Tensor, each: CallLimits) -> Tensor:
            way, purpose = self._ways[name], self._purpose(f"d{name}")
            if name == "q":
                return way.gradient(gradient, each, purpose)
            return way.gradient(gradient.float(), each, purpose, fold_to=gradient.dtype)

        works = [partial(one, name, gradient) for name, gradient in gradients.items()]
        return side_by_side(self.cluster, self._limits(), works)

    def _purpose(self, name: str) -> str:
        """Owners that mean different attentions, or different tensors of one, are refused: their views are compared."""
        return f"{name} of {self._words}"

    def _limits(self, name: str | None = None) -> CallLimits:
        return limits_from_now(self.cluster.options.deadline_ms) if name is None else self._started[name].limits

    def tell_backward_failed(self) -> None:
        self._tell(self._ways["q"].key, "the core attention failed in backward")

    def _tell(self, key: StepKey, failure: str) -> None:
        """Says in this owner's next view why it cannot take part, so that the others do not wait for it."""
        view = ExchangeView("f32", (0, 0), 1, 0, None, False, None, None, None, failure)
        call = ExchangeCall(view, dense_bytes(torch.empty(0, 0)))
        try:
            run_exchange(self.cluster, key, call, self._limits())
        except Exception:
            # What this owner's caller wants to know is its own failure.
            return


class _EndOfBackward:
    """Learns how a run of PyTorch's engine ends: called when all nodes have run, dropped when one has failed."""

    def __init__(self, call: CoreCall) -> None:
        self._call = call

    @classmethod
    def watch(cls, call: CoreCall) -> None:
        """The run that computes the gradient of now holds the watch, and nothing else does."""
        torch.autograd.Variable._execution_engine.queue_callback(cls(call))

    def __call__(self) -> None:
        # A run for parameters of the core alone ends without the second exchange, on all owners.
        self._call.core_runs_backward = False

    def __del__(self) -> None:
        if self._call.core_runs_backward:
            self._call.core_runs_backward = False
            self._call.tell_backward_failed()


class _Gather(torch.autograd.Function):
    """The token ties one way back to the other: every owner goes both, whatever its core does with q, k and v."""

    @staticmethod
    def forward(
        ctx: Any, call: CoreCall, sizes: CoreGatherSizes, q: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.call = call
        gathered_q, gathered_k, gathered_v = call.gather(sizes, {"q": q, "k": k, "v": v})
        return gathered_q, gathered_k, gathered_v, q.new_empty(0)

    @staticmethod
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.call.give_back_gradients({"q": dq, "k": dk, "v": dv})
        return (None, None, *(first_order(each, dq, dk, dv) for each in gradients))


class _Return(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: CoreCall, out: Tensor, token: Tensor, rows: int) -> Tensor:
        ctx.call = call
        # A checkpoint that is computed again ends at its last saved tensor, which has to be the same on all owners.
        ctx.save_for_backward(token)
        return call.give_back(out, rows)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        (token,) = ctx.saved_tensors
        return None, first_order(ctx.call.gather_gradient(dout), dout), torch.zeros_like(token), None
