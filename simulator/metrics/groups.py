"""Communication groups: where their ranks sit, and how fast they are there."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from simulator.hardware.collective_costs import bus_factor, collective_time
from simulator.operators import Axis, Collective, Communication
from simulator.program.gradients import GradientCosts
from simulator.program.transfers import StageTransfer
from simulator.units import GIGA, MIB, MICRO

if TYPE_CHECKING:
    from simulator.hardware.collectives import GroupSpan
    from simulator.program.build import Plan

SMALLEST: Final = 8.0
"""Message [B] whose time is called the latency of a group, as nccl-tests begin with."""

Message = tuple[Collective, float]
"""A collective and its size [B], as nccl-tests count it."""


def communication_groups(plan: Plan) -> list[dict[str, Any]]:
    """Return a row for every kind of group with more than one rank (keys: docs/summary.md).

    Speed is that of the group's largest message: what the group does alone, all groups of its
    axis at once. Other axes' traffic is neglected.
    """
    placed = plan.placement
    gradient = "+".join(placed.gradient.axes)
    reduced = GradientCosts(plan.scenario, placed).largest_reduction(_reduced(plan))
    parts = (
        (Axis.TENSOR.value, placed.tensor, _largest(plan, Axis.TENSOR)),
        (Axis.CONTEXT.value, placed.context, _largest(plan, Axis.CONTEXT)),
        (gradient, placed.gradient, reduced),
    )
    rows = [
        _row(axis, part.span, part.crosses, plan, message)
        for axis, part, message in parts
        if part.span.ranks > 1
    ]
    return [*rows, _pipeline(plan)] if plan.scenario.layout.pipeline > 1 else rows


def _pipeline(plan: Plan) -> dict[str, Any]:
    """Return the row of the hand-overs: they differ, the widest is the one to know about."""
    placed = plan.placement
    span, crosses = max(
        zip(placed.stage_links, placed.stage_link_names, strict=True),
        key=lambda pair: (pair[0].tier, pair[0].contention),
    )
    message = (Collective.SEND_RECV, StageTransfer(plan.scenario, placed).message)
    row = _row(Axis.PIPELINE.value, span, crosses, plan, message)
    return {**row, "ranks": plan.scenario.layout.pipeline}


def _largest(plan: Plan, axis: Axis) -> Message | None:
    """Return the largest message of the model's layers along an axis, none if there is none."""
    blocks = {id(placed.block): placed.block for stage in plan.stages for placed in stage.blocks}
    messages = [
        (step.operator.kind, step.operator.n_bytes)
        for block in blocks.values()
        for step in (*block.forward, *block.backward)
        if isinstance(step.operator, Communication) and step.operator.axis is axis
    ]
    return max(messages, key=itemgetter(1), default=None)


def _reduced(plan: Plan) -> int:
    """Return the parameters whose gradients leave together, at most."""
    if plan.scenario.software.gradient_reduce_overlap:
        return max(count for passes in plan.passes for count in passes.parameters)
    return max(map(plan.parameters, range(plan.scenario.layout.pipeline)))


def _row(
    axis: str, span: GroupSpan, crosses: str, plan: Plan, message: Message | None
) -> dict[str, Any]:
    cluster = plan.scenario.cluster
    pair = message is not None and message[0] is Collective.SEND_RECV
    inside = cluster.node.pair_bandwidth if pair else cluster.node.bandwidth
    rate = inside if span.tier == 0 else cluster.nic_bandwidth
    return {
        "axis": axis,
        "ranks": span.ranks,
        "ranks_per_node": span.ranks_per_node,
        "nodes": span.nodes,
        "rails": span.rails,
        "crosses": crosses,
        "line_rate_gb_per_s": rate / GIGA,
        "contention": span.contention,
        "wire_share": span.wire_share,
        **_speed(span, plan, message),
    }


def _speed(span: GroupSpan, plan: Plan, message: Message | None) -> dict[str, Any]:
    """Return what the largest message takes and the latency; nothing where none is sent."""
    if message is None:
        return dict.fromkeys(_SPEED)
    (kind, n_bytes), cluster = message, plan.scenario.cluster
    time = collective_time(kind, n_bytes, span, cluster)
    latency = collective_time(kind, SMALLEST, span, cluster)
    bus = bus_factor(kind, span.ranks) * n_bytes / time if time > 0 else 0.0
    values = (kind.value, n_bytes / MIB, time / MICRO, bus / GIGA, latency / MICRO)
    return dict(zip(_SPEED, values, strict=True))


_SPEED: Final = (
    "collective",
    "message_mib",
    "message_time_us",
    "bus_bandwidth_gb_per_s",
    "latency_us",
)
