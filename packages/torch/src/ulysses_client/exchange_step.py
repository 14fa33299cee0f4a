"""An exchange alone, replayed until it commits.

The tensor is the caller's memory and is read again in a replay: it must stay what it was until the call returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .call_limits import CallLimits
from .cluster import Cluster
from .errors import PlanInvalidError, field_error
from .exchange.tensor_exchange import Landing, PartialSums, exchange_sends, place_exchanged, resized
from .plan import DType, ExchangePlan, ExchangeSpec, verify_exchange_plan
from .replay import with_replay
from .run_step import StepCall, StepOutcome, Transfers, run_step
from .wire.convert import ExchangeView, Planned, StepKey
from .wire.slices import Bytes


@dataclass(frozen=True)
class ExchangeCall:
    view: ExchangeView
    #: uint8 [*shape, element bytes], dense. Rows of the gather dimension beyond its part in the plan are padding.
    tensor: Bytes
    #: Extent of the scatter dimension of the result, which goes on with zeros; None: what is exchanged.
    result_extent: int | None = None
    #: Float32 parts are summed in owner order where gather ranges overlap, and rounded to this; None: no sums.
    fold_to: DType | None = None


@dataclass(frozen=True)
class ReverseCall:
    dtype: DType
    #: Extent that the result has of the dimension which was gathered; it goes on with zeros.
    result_extent: int
    purpose: str | None = None
    fold_to: DType | None = None


@dataclass(frozen=True)
class ExchangeOutcome:
    step: StepOutcome
    spec: ExchangeSpec
    #: uint8 [*shape, element bytes], dense.
    result: Bytes


def run_exchange(cluster: Cluster, key: StepKey, call: ExchangeCall, limits: CallLimits) -> ExchangeOutcome:
    """Runs an exchange until it commits. Results of attempts that failed are dropped whole."""
    return with_replay(
        cluster, key.attempt, lambda attempt: _attempt(cluster, replace(key, attempt=attempt), call, limits), limits
    )


def run_reverse(
    cluster: Cluster, key: StepKey, spec: ExchangeSpec, tensor: Bytes, back: ReverseCall, limits: CallLimits
) -> ExchangeOutcome:
    """The exchange of `spec` the other way. What the tensor holds beyond this owner's results stays behind."""
    owner = cluster.options.owner_index
    extent = spec.output_shape(owner)[spec.scatter_dim]
    view = reverse_view(spec, owner, back.dtype, back.purpose)
    call = ExchangeCall(view, resized(tensor, spec.scatter_dim, extent), back.result_extent, back.fold_to)
    return run_exchange(cluster, key, call, limits)


def reverse_view(spec: ExchangeSpec, owner: int, dtype: DType, purpose: str | None = None) -> ExchangeView:
    """Swaps the dimensions of a plan, for what an owner has of its results."""
    return ExchangeView(
        dtype=dtype,
        shape=spec.output_shape(owner),
        scatter_dim=spec.gather_dim,
        gather_dim=spec.scatter_dim,
        gather_size=spec.shape[spec.scatter_dim],
        aligned=False,
        scatter_ranges=spec.gather_ranges,
        gather_ranges=spec.scatter_ranges,
        purpose=purpose,
    )


def _attempt(cluster: Cluster, key: StepKey, call: ExchangeCall, limits: CallLimits) -> ExchangeOutcome:
    owner = cluster.options.owner_index
    specs: list[ExchangeSpec] = []
    landings: list[Landing] = []
    sums: list[PartialSums] = []

    def transfers(planned: Planned) -> Transfers:
        spec = _verified(planned, call.view, owner)
        specs.append(spec)
        shard = resized(call.tensor, spec.gather_dim, spec.input_shape(owner)[spec.gather_dim])
        if call.fold_to is None:
            landings.append(place_exchanged(spec, owner, shard))
            receives = landings[0].receives
        else:
            sums.append(PartialSums(spec, owner, shard))
            receives = sums[0].receives
        return Transfers(exchange_sends(spec, owner, shard), receives)

    outcome = run_step(cluster, StepCall(key, call.view, None, False, transfers), limits)
    result = landings[0].result if call.fold_to is None else sums[0].sum(call.fold_to)
    if call.result_extent is not None:
        result = resized(result, specs[0].scatter_dim, call.result_extent)
    return ExchangeOutcome(outcome, specs[0], result)


def _verified(planned: Planned, view: ExchangeView, owner: int) -> ExchangeSpec:
    """Raises PLAN_INVALID for a plan of another operation, or one that is wrong."""
    plan = planned.plan
    if not isinstance(plan, ExchangePlan):
        raise PlanInvalidError("attention was planned, not an exchange")
    verify_exchange_plan(plan)
    spec = plan.spec
    for field in ("dtype", "scatter_dim", "gather_dim"):
        got, asked = getattr(spec, field), getattr(view, field)
        if got != asked:
            raise field_error(PlanInvalidError, field, got, f"{asked}, as this owner asked for")
    for dim, (extent, held) in enumerate(zip(spec.input_shape(owner), view.shape, strict=True)):
        if extent > held or (extent < held and dim != view.gather_dim):
            raise field_error(PlanInvalidError, f"shape[{dim}]", extent, f"{held}, as this owner has it")
    return spec
