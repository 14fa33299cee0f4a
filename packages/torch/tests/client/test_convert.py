"""Everything that travels is read as it was written, on random values."""

from hypothesis import given
from hypothesis import strategies as st

from ulysses_client.errors import ERROR_CLASSES
from ulysses_client.generated import coordinator_pb2, plan_pb2, tensor_pb2
from ulysses_client.plan import ExchangePlan, ExchangeSpec, Plan, StepSpec, exchange_plan_id
from ulysses_client.wire.convert import (
    ExchangeView,
    StepKey,
    StepView,
    error_from_proto,
    exchange_plan_from_proto,
    pass_name,
    plan_from_proto,
    planned_from_proto,
)

from .test_exchange_alone import specs as exchange_specs
from .test_plan import plans, specs

counts = st.integers(0, 2**53 - 1)
names = st.text(max_size=20)
keys = st.builds(StepKey, names, names, counts, st.sampled_from(["forward", "backward"]), st.integers(0, 2**32 - 1))


def view_of(spec: StepSpec, **fields: object) -> StepView:
    return StepView(
        spec.dtype, spec.layout, spec.batch, spec.q_heads, spec.kv_heads, spec.head_size,
        sum(spec.q_splits), sum(spec.kv_splits), spec.mask, spec.scale, spec.strategy, "store", **fields,
    )  # fmt: skip


def plan_to_proto(plan: Plan) -> plan_pb2.Plan:
    """As a coordinator writes it; fields of a spec and of a view have the same names."""
    view = view_of(plan.spec).to_proto()
    spec = plan_pb2.StepSpec(q_splits=plan.spec.q_splits, kv_splits=plan.spec.kv_splits, weights=plan.spec.weights)
    for name in ("dtype", "layout", "batch", "q_heads", "kv_heads", "head_size", "scale", "strategy"):
        setattr(spec, name, getattr(view, name))
    spec.mask.CopyFrom(view.mask)
    return plan_pb2.Plan(plan_id=plan.plan_id, cp_size=plan.cp_size, spec=spec, cuts=plan.cuts)


def exchange_plan_to_proto(plan: ExchangePlan) -> plan_pb2.ExchangePlan:
    spec = plan.spec
    view = exchange_view_of(spec).to_proto()
    return plan_pb2.ExchangePlan(
        plan_id=plan.plan_id,
        spec=plan_pb2.ExchangeSpec(
            dtype=view.dtype,
            shape=view.shape,
            scatter_dim=view.scatter_dim,
            gather_dim=view.gather_dim,
            scatter_ranges=view.scatter_ranges,
            gather_ranges=view.gather_ranges,
        ),
    )


def exchange_view_of(spec: ExchangeSpec) -> ExchangeView:
    ranges = (spec.scatter_ranges, spec.gather_ranges)
    return ExchangeView(spec.dtype, spec.shape, spec.scatter_dim, spec.gather_dim, None, False, *ranges, None)


@given(plans())
def test_a_plan_is_read_as_it_was_written(plan: Plan) -> None:
    message = plan_pb2.Plan.FromString(plan_to_proto(plan).SerializeToString())
    assert plan_from_proto(message) == plan


@given(exchange_specs())
def test_an_exchange_plan_is_read_as_it_was_written(spec: ExchangeSpec) -> None:
    plan = ExchangePlan(exchange_plan_id(spec), spec)
    message = plan_pb2.ExchangePlan.FromString(exchange_plan_to_proto(plan).SerializeToString())
    assert exchange_plan_from_proto(message) == plan


@given(plans() | exchange_specs().map(lambda spec: ExchangePlan(exchange_plan_id(spec), spec)), counts, st.booleans())
def test_the_coordinators_answer_says_which_operation_it_planned(
    plan: Plan | ExchangePlan, epoch: int, aligned: bool
) -> None:
    one = (
        {"exchange": exchange_plan_to_proto(plan)} if isinstance(plan, ExchangePlan) else {"plan": plan_to_proto(plan)}
    )
    message = coordinator_pb2.Planned(epoch=epoch, attempt=3, kv_cache_policy=1, aligned_by_policy=aligned, **one)
    planned = planned_from_proto(coordinator_pb2.Planned.FromString(message.SerializeToString()))
    assert planned.plan == plan
    assert (planned.epoch, planned.attempt, planned.kv_cache_policy) == (epoch, 3, "none")
    assert planned.aligned_by_policy == aligned


@given(specs(), st.none() | counts, st.none() | counts, st.sampled_from([None, "default", "dynamic"]), names)
def test_a_view_says_what_is_absent(
    spec: StepSpec, size: int | None, extent: int | None, calculator: str | None, client: str
) -> None:
    """Zero and nothing are told apart where both mean something."""
    view = view_of(
        spec,
        gather_size_q=size,
        gather_size_kv=size,
        attention_mask_extent=extent,
        gather_size_calculator=calculator,
        client_calculator=client,
    )
    message = coordinator_pb2.StepView.FromString(view.to_proto().SerializeToString())
    for field, value in (("gather_size_q", size), ("gather_size_kv", size), ("attention_mask_extent", extent)):
        assert (getattr(message, field) if message.HasField(field) else None) == value
    for side in ("left", "right"):
        bound = getattr(message.mask, side) if message.mask.HasField(side) else None
        assert bound == getattr(spec.mask, side)
    assert message.gather_size_calculator == (calculator or "")
    assert message.client_calculator == client


@given(keys)
def test_a_step_key_is_read_as_it_was_written(key: StepKey) -> None:
    step = tensor_pb2.StepKey.FromString(key.to_proto().SerializeToString())
    assert StepKey(step.job, step.session, step.call, pass_name(getattr(step, "pass")), step.attempt) == key


@given(st.sampled_from(sorted(ERROR_CLASSES)), names, st.dictionaries(names, names, max_size=4))
def test_an_error_is_read_as_it_was_written(code: str, message: str, details: dict[str, str]) -> None:
    sent = tensor_pb2.Error(code=code, message=message, details=details).SerializeToString()
    error = error_from_proto(tensor_pb2.Error.FromString(sent))
    assert type(error) is ERROR_CLASSES[code]
    assert (error.message, error.details) == (message, details)
