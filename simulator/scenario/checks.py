"""Rules between fields: each is a function from a scenario to the problems it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.errors import LayoutError, ScheduleError
from simulator.parallel.layout import INNERMOST_FIRST
from simulator.parallel.network import LARGEST_BACKGROUND, MOST_FLOWS_PER_PAIR, Routing
from simulator.parallel.stages import split_layers
from simulator.precision import Precision
from simulator.schedule.pipelines import ideal_bubble_fraction
from simulator.workload.parameters import layer_parameters_per_rank
from simulator.workload.transformer import Positions

LARGEST_DEPTH: Final = 10_000
"""Layers beyond which a model is a typing slip."""
LARGEST_SCHEDULE: Final = 5_000_000
"""Actions of one step beyond which memory and patience end."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.scenario.scenario import Scenario

    Finding = tuple[str, str]
    """Field path and message."""
    Check = Callable[[Scenario], Iterator[Finding]]


def findings(scenario: Scenario) -> list[Finding]:
    """Return every broken rule as (field path, message), in the order of `CHECKS`."""
    # Beyond these sizes the other checks would themselves run for ever.
    too_large = list(sizes_are_playable(scenario))
    return too_large or [finding for check in CHECKS for finding in check(scenario)]


def sizes_are_playable(scenario: Scenario) -> Iterator[Finding]:
    """Require a model and a schedule of a size that a step can be played in."""
    if scenario.model.layers > LARGEST_DEPTH:
        yield "model.layers", f"must be at most {LARGEST_DEPTH:,}, got {scenario.model.layers:,}"
    passes = 2 * scenario.layout.chunks * max(1, scenario.micro_batches)
    if passes > LARGEST_SCHEDULE:
        yield (
            "batch.global_batch",
            (
                f"{scenario.micro_batches:,} micro-batches on {scenario.layout.chunks:,} virtual "
                f"stages make {passes:,} actions; at most {LARGEST_SCHEDULE:,} are played"
            ),
        )


def degrees_fill_the_job(scenario: Scenario) -> Iterator[Finding]:
    """Require the product of the degrees to be the number of accelerators."""
    layout = scenario.layout
    if layout.ranks != scenario.accelerators:
        product = " x ".join(f"{axis} {degree}" for axis, degree in layout.degrees.items())
        yield (
            "layout",
            (
                f"{product} = {layout.ranks:,} ranks, but the scenario has "
                f"{scenario.accelerators:,} accelerators"
            ),
        )


def cluster_is_large_enough(scenario: Scenario) -> Iterator[Finding]:
    """Require a fabric that joins as many accelerators as the job has."""
    largest = scenario.cluster.largest
    if scenario.accelerators > largest:
        yield (
            "accelerators",
            (
                f"{scenario.accelerators:,} accelerators, but {scenario.cluster.name} joins "
                f"at most {largest:,}"
            ),
        )


def islands_hold_whole_nodes(scenario: Scenario) -> Iterator[Finding]:
    """Require islands of whole nodes, as many of them as the cluster is large."""
    islands, node = scenario.cluster.fabric.islands, scenario.cluster.node
    if islands and islands.accelerators % node.accelerators:
        yield (
            "cluster.fabric.islands.accelerators",
            f"{islands.accelerators:,} are no whole nodes of {node.accelerators:,} ({node.name})",
        )


def drawn_nodes_have_a_seed(scenario: Scenario) -> Iterator[Finding]:
    """Require a seed where nodes are drawn at random, and only there."""
    allocation = scenario.placement
    if allocation.drawn and allocation.seed is None:
        yield "placement.seed", f"nodes: {allocation.nodes} needs one, such as seed: 1"
    if allocation.seed is not None and not allocation.drawn:
        yield "placement.seed", f"nodes: {allocation.nodes} draws nothing at random; remove it"


def enough_nodes_are_left(scenario: Scenario) -> Iterator[Finding]:
    """Require lost nodes that the cluster has, and enough others for the job."""
    cluster, lost = scenario.cluster, scenario.placement.lost_nodes
    size = cluster.node.accelerators
    nodes = -(-cluster.largest // size)
    if wrong := [node for node in lost if node >= nodes]:
        yield (
            "placement.lost_nodes",
            f"{cluster.name} has the nodes 0 to {nodes - 1:,}, not {wrong[0]:,}",
        )
    elif len(set(lost)) < len(lost):
        twice = next(node for node in lost if lost.count(node) > 1)
        yield "placement.lost_nodes", f"names node {twice:,} twice"
    elif nodes - len(lost) < -(-scenario.accelerators // size) <= nodes:
        yield (
            "placement.lost_nodes",
            (
                f"leaves {nodes - len(lost):,} nodes of {cluster.name}, but "
                f"{scenario.accelerators:,} accelerators need {-(-scenario.accelerators // size):,}"
            ),
        )


def order_names_every_axis(scenario: Scenario) -> Iterator[Finding]:
    """Require the rank order to be a permutation of the axes."""
    order = scenario.layout.order
    if sorted(order) != sorted(INNERMOST_FIRST):
        yield (
            "layout.order",
            (
                f"must name each of {', '.join(INNERMOST_FIRST)} once, innermost first; "
                f"got {', '.join(order) or 'nothing'}"
            ),
        )


def batch_divides(scenario: Scenario) -> Iterator[Finding]:
    """Require whole micro-batches on every data-parallel rank."""
    batch, data = scenario.batch, scenario.layout.data
    per_pass = data * batch.micro_batch
    if batch.global_batch % per_pass:
        yield (
            "batch.global_batch",
            (
                f"{batch.global_batch:,} sequences do not divide into data {data} x micro_batch "
                f"{batch.micro_batch} = {per_pass:,} sequences at a time "
                f"({batch.global_batch:,} / {per_pass:,} = {batch.global_batch / per_pass:.2f})"
            ),
        )


def sequence_divides(scenario: Scenario) -> Iterator[Finding]:
    """Require context and sequence parallelism to cut the sequence evenly."""
    length, layout = scenario.batch.sequence_length, scenario.layout
    pieces = layout.context * (layout.tensor if layout.sequence_parallel else 1)
    if length % pieces:
        yield (
            "batch.sequence_length",
            f"{length:,} tokens do not divide by {pieces} (context {layout.context}"
            + (f" x tensor {layout.tensor})" if layout.sequence_parallel else ")"),
        )


def sequence_fits_the_positions(scenario: Scenario) -> Iterator[Finding]:
    """Require enough positions where a model has learned ones."""
    most, length = scenario.model.max_positions, scenario.batch.sequence_length
    if 0 < most < length:
        yield (
            "batch.sequence_length",
            f"{length:,} tokens, but {scenario.model.name} has {most:,} learned positions",
        )


def sequence_parallelism_has_a_group(scenario: Scenario) -> Iterator[Finding]:
    """Require a tensor group for sequence parallelism to split over."""
    if scenario.layout.sequence_parallel and scenario.layout.tensor == 1:
        yield (
            "layout.sequence_parallel",
            "needs layout.tensor > 1: it splits the sequence over the tensor-parallel group",
        )


def model_is_consistent(scenario: Scenario) -> Iterator[Finding]:
    """Require heads that share keys evenly, and positions and norms that go together."""
    model = scenario.model
    if model.heads % model.kv_heads:
        yield "model.kv_heads", f"{model.kv_heads} does not divide the {model.heads} heads"
    if (model.positions is Positions.LEARNED) != (model.max_positions > 0):
        yield (
            "model.max_positions",
            (
                f"is {model.max_positions}, but positions are {model.positions}: learned positions "
                f"need a number, others take none"
            ),
        )
    if model.parallel_norms and not model.parallel_block:
        yield "model.parallel_norms", "needs parallel_block: true"


def heads_divide(scenario: Scenario) -> Iterator[Finding]:
    """Require tensor parallelism to cut heads, key/value heads and the MLP evenly."""
    try:
        layer_parameters_per_rank(scenario.model, scenario.layout.tensor)
    except LayoutError as error:
        yield "layout.tensor", str(error)


def layers_fit_the_stages(scenario: Scenario) -> Iterator[Finding]:
    """Require a layer on every inner virtual stage, and every layer in an explicit split."""
    layout, layers = scenario.layout, scenario.model.layers
    if layout.layers is None:
        try:
            split_layers(layers, layout.chunks)
        except LayoutError as error:
            yield "layout.pipeline", str(error)
        return
    if len(layout.layers) != layout.chunks:
        yield (
            "layout.layers",
            (
                f"lists {len(layout.layers)} virtual stages, but pipeline {layout.pipeline} x "
                f"virtual_stages {layout.virtual_stages} = {layout.chunks}"
            ),
        )
    if sum(layout.layers) != layers:
        yield (
            "layout.layers",
            f"adds up to {sum(layout.layers)} layers, but {scenario.model.name} has {layers}",
        )


def schedule_accepts(scenario: Scenario) -> Iterator[Finding]:
    """Require a schedule that takes these stages, micro-batches and chunks."""
    layout = scenario.layout
    if scenario.micro_batches < 1:
        return
    try:
        ideal_bubble_fraction(
            scenario.schedule, layout.pipeline, scenario.micro_batches, layout.virtual_stages
        )
    except ScheduleError as error:
        yield "schedule", str(error)


def accelerator_has_the_precision(scenario: Scenario) -> Iterator[Finding]:
    """Require a rate for the linear layers, and bf16 for attention and head."""
    accelerator = scenario.cluster.accelerator
    for rates in (accelerator.peak_flop_rate, accelerator.achievable_flop_rate):
        if scenario.precision not in rates:
            yield (
                "precision",
                (
                    f"{accelerator.name} has no {scenario.precision} rate; "
                    f"it has: {', '.join(sorted(rates))}"
                ),
            )
            return
    if Precision.BF16 not in accelerator.achievable_flop_rate:
        yield "cluster.accelerator", f"{accelerator.name} has no bf16 rate for attention and head"


def network_is_consistent(scenario: Scenario) -> Iterator[Finding]:
    """Require some network for the job, and all that a hash reads, of a hash only."""
    network = scenario.network
    if network.background > LARGEST_BACKGROUND:
        yield (
            "network.background",
            f"must be a share from 0 to {LARGEST_BACKGROUND}, got {network.background:g}",
        )
    if network.connections > MOST_FLOWS_PER_PAIR:
        yield (
            "network.flows_per_pair",
            f"must be at most {MOST_FLOWS_PER_PAIR}, got {network.connections:,}",
        )
    if network.routing is Routing.ECMP and network.flows_per_pair is None:
        yield (
            "network.routing",
            (
                "ecmp needs flows_per_pair: channels of the collective library on one interface "
                "x queue pairs of each (NCCL_IB_QPS_PER_CONNECTION)"
            ),
        )
    if network.routing is not Routing.ECMP:
        for field in ("seed", "flows_per_pair"):
            if getattr(network, field) is not None:
                yield (
                    f"network.{field}",
                    f"only routing: ecmp reads it, but routing is {network.routing}",
                )


CHECKS: tuple[Check, ...] = (
    degrees_fill_the_job,
    cluster_is_large_enough,
    islands_hold_whole_nodes,
    drawn_nodes_have_a_seed,
    enough_nodes_are_left,
    order_names_every_axis,
    batch_divides,
    sequence_divides,
    sequence_fits_the_positions,
    sequence_parallelism_has_a_group,
    model_is_consistent,
    heads_divide,
    layers_fit_the_stages,
    schedule_accepts,
    accelerator_has_the_precision,
    network_is_consistent,
)
"""Every rule, in the order in which its problems are reported."""
