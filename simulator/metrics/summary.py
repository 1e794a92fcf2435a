"""The summary: what a step costs, in plain numbers with units in their keys."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, Any

from simulator.errors import SimulatorError
from simulator.metrics.breakdown import BUBBLE, Breakdown, break_down
from simulator.metrics.contention import link_use, transfers
from simulator.metrics.groups import communication_groups
from simulator.parallel.blocks import Recomputation
from simulator.parallel.network import RESIDUAL_LOSS, Routing, Sharing
from simulator.schedule.pipelines import ideal_bubble_fraction
from simulator.units import GIB, TERA
from simulator.workload.flops import Convention, forward_flops_per_token
from simulator.workload.models import (
    active_parameters_of,
    flops_per_sample,
    parameters_of,
    sample_of,
)
from simulator.workload.transformer import Transformer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.engine.trace import Trace
    from simulator.metrics.memory import StageMemory
    from simulator.program.build import Plan
    from simulator.scenario.scenario import Scenario

SCHEMA_VERSION = 1
ROUNDING = 1e-9
"""Largest relative difference between the breakdown's sum and the step time."""


def summarise(
    trace: Trace, plan: Plan, memory: Sequence[StageMemory], engine: str
) -> dict[str, Any]:
    """Return the summary of a played step (keys: docs/summary.md); all values are plain.

    Raises
    ------
    SimulatorError
        If the breakdown does not add up to the step time (a bug, never rounded away).
    """
    scenario = plan.scenario
    breakdown = break_down(trace)
    return {
        "schema_version": SCHEMA_VERSION,
        **_what(scenario, plan, engine),
        **_speed(scenario, trace.step_time),
        "bubble_fraction": breakdown.bubble / trace.step_time,
        "bubble_fraction_ideal": ideal_bubble_fraction(
            scenario.schedule,
            scenario.layout.pipeline,
            scenario.micro_batches,
            scenario.layout.virtual_stages,
        ),
        "breakdown_s": _exact(breakdown, trace.step_time),
        **_memory(scenario, memory),
        "groups": communication_groups(plan),
        "network": _network(scenario),
        "transfers": transfers(trace),
        "links": link_use(trace),
        "rank_classes": trace.program.rank_classes,
        "tasks": len(trace.program),
        "assumptions": assumptions(plan, alike=trace.program.rank_classes == len(memory)),
    }


def model_flops_utilisation(scenario: Scenario, step_time: float) -> dict[str, float]:
    """Return the MFU of a step of ``step_time`` [s] by convention of model FLOPs."""
    rate = scenario.batch.tokens / step_time / scenario.accelerators
    peak = scenario.cluster.accelerator.peak(scenario.precision)
    flops = flops_per_sample(scenario.model, scenario.batch.sequence_length)
    return {convention: rate * each / peak for convention, each in flops.items()}


def recomputed_flops_per_token(scenario: Scenario, *, causal: bool) -> float:
    """Return the forward FLOPs per token that the backward pass repeats; networks repeat none."""
    model = scenario.model
    if not isinstance(model, Transformer):
        return 0.0
    forward = forward_flops_per_token(model, scenario.batch.sequence_length, causal=causal)
    total = 0.0
    for layer in range(model.layers):
        mode = scenario.recompute.of_layer(layer)
        if mode is Recomputation.FULL:
            total += forward.layer_linear + forward.layer_attention
        elif mode is Recomputation.SELECTIVE:
            total += forward.layer_attention
    return total


def _what(scenario: Scenario, plan: Plan, engine: str) -> dict[str, Any]:
    layout = scenario.layout
    return {
        "scenario": scenario.name,
        "model": scenario.model.name,
        "sample": sample_of(scenario.model),
        "parameters": parameters_of(scenario.model),
        "active_parameters": active_parameters_of(scenario.model),
        "cluster": scenario.cluster.name,
        "accelerator": scenario.cluster.accelerator.name,
        "accelerators": scenario.accelerators,
        "software": scenario.software.name,
        "layout": {
            **{axis.value: degree for axis, degree in layout.degrees.items()},
            "virtual_stages": layout.virtual_stages,
            "sequence_parallel": layout.sequence_parallel,
            "sharding": layout.sharding.value,
            "order": [axis.value for axis in layout.order],
            "layers": [stage.chunk.layers for stage in plan.stages],
        },
        "placement": {
            "nodes": scenario.placement.nodes.value,
            "seed": scenario.placement.seed,
            "lost_nodes": list(scenario.placement.lost_nodes),
        },
        "batch": {
            "global_batch": scenario.batch.global_batch,
            "micro_batch": scenario.batch.micro_batch,
            "micro_batches": scenario.micro_batches,
            "sequence_length": scenario.batch.sequence_length,
        },
        "schedule": scenario.schedule,
        "precision": scenario.precision.value,
        "recompute": {"mode": scenario.recompute.mode.value, "every": scenario.recompute.every},
        "engine": engine,
    }


def _speed(scenario: Scenario, step_time: float) -> dict[str, Any]:
    tokens = scenario.batch.tokens
    peak = scenario.cluster.accelerator.peak(scenario.precision)
    rate = tokens / step_time / scenario.accelerators
    length = scenario.batch.sequence_length
    flops = flops_per_sample(scenario.model, length)
    executed = {
        c: flops[c] + recomputed_flops_per_token(scenario, causal=c == Convention.CAUSAL)
        for c in flops
    }
    return {
        "step_time_s": step_time,
        "tokens_per_step": tokens,
        "tokens_per_s": tokens / step_time,
        "tokens_per_s_per_accelerator": rate,
        "model_flop_per_token": flops,
        "tflop_per_s_per_accelerator": {c: rate * flops[c] / TERA for c in flops},
        "peak_tflop_per_s": peak / TERA,
        "mfu": model_flops_utilisation(scenario, step_time),
        "hfu": {c: rate * executed[c] / peak for c in flops},
    }


def _exact(breakdown: Breakdown, step_time: float) -> dict[str, float]:
    """Return the mean breakdown, its rounding error moved into the bubble."""
    error = step_time - fsum(breakdown.mean.values())
    if abs(error) > ROUNDING * step_time:
        raise SimulatorError(f"the breakdown misses the step time by {error} s: please report")
    seconds = dict(breakdown.mean)
    seconds[BUBBLE] = max(0.0, seconds[BUBBLE] + error)
    return seconds


def _memory(scenario: Scenario, stages: Sequence[StageMemory]) -> dict[str, Any]:
    capacity = scenario.cluster.accelerator.memory
    peak = max(stage.peak_total for stage in stages)
    return {
        "memory_gib": {
            "capacity": capacity / GIB,
            "peak": peak / GIB,
            "stages": [
                {"stage": stage.stage}
                | {name: n_bytes / GIB for name, n_bytes in stage.peak.items()}
                | {"total": stage.peak_total / GIB}
                for stage in stages
            ],
        },
        "fits": peak <= capacity,
    }


def _network(scenario: Scenario) -> dict[str, Any]:
    """Return what transfers meet on the network; what the routing does not read is null."""
    network = scenario.network
    hashed = network.routing is Routing.ECMP
    return {
        "sharing": network.sharing.value,
        "background_share": network.background,
        "routing": network.routing.value,
        "seed": network.hash_seed if hashed else None,
        "flows_per_pair": network.connections if hashed else None,
    }


def assumptions(plan: Plan, *, alike: bool = True) -> list[str]:
    """Return the simplifications that touch this scenario's numbers, a sentence each.

    ``alike`` says whether no rank was set apart from the others of its stage.
    """
    scenario, placed = plan.scenario, plan.placement
    notes = [_likeness(scenario.software.step_jitter, alike=alike), *_network_assumptions(plan)]
    for part in (placed.tensor, placed.context, placed.gradient):
        if part.span.ranks > 1 and not part.uniform:
            axes = "+".join(part.axes)
            notes.append(f"Groups along {axes} differ in placement; all are priced as the widest.")
    if placed.gradient.span.contention > 1:
        notes.append(
            f"Gradient traffic asks {placed.gradient.span.contention:.2f} times what the busiest "
            f"uplinks carry and is slowed by that factor."
        )
    model = scenario.model
    transformer = model if isinstance(model, Transformer) else None
    if transformer and transformer.experts is not None:
        notes.append("Every expert gets as many tokens as every other, on every rank and layer.")
    layers = transformer.layers if transformer else 0
    if scenario.layout.layers is None and layers % scenario.layout.chunks:
        notes.append("Layers do not divide over the virtual stages; the ends hold fewer.")
    if scenario.islands is not None:
        notes.append(
            "All islands are alike; the link carries nothing else, one exchange after another, "
            "as a ring over the islands. Step, breakdown and MFU above are those of one island "
            "without exchanges."
        )
    return notes


def _likeness(step_jitter: float, *, alike: bool) -> str:
    """Return how far ranks of a stage behave alike."""
    if step_jitter:
        spread = f"in times that spread by {100 * step_jitter:g} % of the step"
        return f"Ranks do the same, {spread}; all wait for the last."
    if alike:
        return "As priced, all ranks of a stage behave alike: no stragglers, no jitter."
    return "All other ranks of a stage behave alike: no jitter."


def _network_assumptions(plan: Plan) -> Iterator[str]:
    """Yield what is taken for granted about other traffic and about routing."""
    network = plan.scenario.network
    if network.sharing is Sharing.NONE:
        yield (
            "Pipeline transfers and data-parallel collectives each have the network to themselves "
            "(network.sharing: none)."
        )
    else:
        yield "Tensor- and context-parallel collectives share no link with other traffic."
    if network.background:
        yield f"Other jobs take {network.background:.0%} of every network link, all the time."
    else:
        yield "No other job's traffic on the network."
    if network.routing is Routing.ADAPTIVE:
        yield f"Adaptive routing loses {RESIDUAL_LOSS:.0%} of the bandwidth above a leaf (assumed)."
    elif network.routing is Routing.ECMP:
        yield "ECMP places are drawn once from the seed; another seed gives another step time."
    for axes, share in _routing_shares(plan):
        yield (
            f"Routing leaves the slowest group along {axes} {share:.0%} of its network bandwidth, "
            f"and all wait for it."
        )


def _routing_shares(plan: Plan) -> Iterator[tuple[str, float]]:
    """Yield the axes that lose bandwidth to routing, and the share that they keep."""
    placed, left = plan.placement, 1.0 - plan.scenario.network.background
    shares = {
        "+".join(part.axes): part.span.wire_share
        for part in (placed.tensor, placed.context, placed.gradient)
    }
    shares["pipeline"] = min(span.wire_share for span in placed.stage_links)
    for axes, share in shares.items():
        if share < left:
            yield axes, share / left
