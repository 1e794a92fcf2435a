"""Rules between fields: each is a function from a scenario to the problems it finds.

Those that depend on the kind of model are in `simulator.scenario.model_checks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.errors import ScheduleError
from simulator.hardware.software import GradientAllReduce
from simulator.parallel.islands import Method
from simulator.parallel.layout import INNERMOST_FIRST, Sharding
from simulator.parallel.network import LARGEST_BACKGROUND, MOST_FLOWS_PER_PAIR, Routing, Sharing
from simulator.scenario.model_checks import model_findings
from simulator.schedule.pipelines import ideal_bubble_fraction
from simulator.workload.convolutional import ConvolutionalNetwork, module_problems
from simulator.workload.models import depth_of, exchanged
from simulator.workload.transformer import Transformer

LARGEST_DEPTH: Final = 10_000
"""Layers beyond which a model is a typing slip."""
LARGEST_SCHEDULE: Final = 5_000_000
"""Actions of one step beyond which memory and patience end."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.parallel.islands import Synchronisation
    from simulator.scenario.model_checks import Finding
    from simulator.scenario.scenario import Scenario

    Check = Callable[[Scenario], Iterator[Finding]]


def findings(scenario: Scenario) -> list[Finding]:
    """Return every broken rule as (field path, message).

    Rules of all scenarios come first, in the order of `CHECKS`, then those of the kind of model.
    """
    # Beyond these sizes the other checks would themselves run for ever.
    if too_large := list(sizes_are_playable(scenario)):
        return too_large
    found = [finding for check in CHECKS for finding in check(scenario)]
    return [*found, *model_findings(scenario)]


def sizes_are_playable(scenario: Scenario) -> Iterator[Finding]:
    """Require a model and a schedule of a size that a step can be played in."""
    depth = depth_of(scenario.model)
    if depth > LARGEST_DEPTH:
        field = "layers" if isinstance(scenario.model, Transformer) else "modules"
        yield f"model.{field}", f"must be at most {LARGEST_DEPTH:,}, got {depth:,}"
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
    """Require islands of whole nodes."""
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


def sequence_parallelism_has_a_group(scenario: Scenario) -> Iterator[Finding]:
    """Require a tensor group for sequence parallelism to split over."""
    if scenario.layout.sequence_parallel and scenario.layout.tensor == 1:
        yield (
            "layout.sequence_parallel",
            "needs layout.tensor > 1: it splits the sequence over the tensor-parallel group",
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
    """Require a rate for the products."""
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


def traffic_is_consistent(scenario: Scenario) -> Iterator[Finding]:
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


def layerwise_norms_see_whole_layers(scenario: Scenario) -> Iterator[Finding]:
    """Require that a rank which takes norms of layers holds all of each layer."""
    layout = scenario.layout
    whole = layout.tensor == 1 and layout.sharding is Sharding.NONE
    if scenario.software.layerwise_norms and not whole:
        yield (
            "software.layerwise_norms",
            "is simulated for ranks that hold whole layers: needs layout.tensor 1, sharding none",
        )


def three_phases_sum_whole_gradients(scenario: Scenario) -> Iterator[Finding]:
    """Require that a chosen all-reduce is used: a sharded optimizer scatters by the library."""
    chosen = scenario.software.gradient_all_reduce
    if chosen is not GradientAllReduce.LIBRARY and scenario.layout.sharding is not Sharding.NONE:
        yield (
            "software.gradient_all_reduce",
            f"{chosen} needs layout.sharding none, got {scenario.layout.sharding}",
        )


def islands_are_consistent(scenario: Scenario) -> Iterator[Finding]:
    """Require two islands or more, and a synchronisation whose parts go together."""
    islands = scenario.islands
    if islands is None:
        return
    if islands.count == 1:
        yield "islands.count", "must be at least 2: a single island exchanges nothing"
    if scenario.network.sharing is Sharing.FAIR:
        yield "network.sharing", "must be none with islands: their steps are played over and over"
    model = scenario.model
    if isinstance(model, ConvolutionalNetwork) and any(module_problems(model)):
        return  # its blocks cannot be counted
    for field, message in _synchronisation_findings(islands.synchronisation, exchanged(model)):
        yield f"islands.synchronisation.{field}", message


def _synchronisation_findings(sync: Synchronisation, layers: int) -> Iterator[Finding]:
    streams = sync.method is Method.STREAMING_DILOCO
    if sync.method is Method.DATA_PARALLEL:
        if sync.inner_steps != 1:
            yield "inner_steps", f"data_parallel exchanges every step, got {sync.inner_steps:,}"
        if sync.overlap_steps:
            yield (
                "overlap_steps",
                "data_parallel applies the gradients of the step itself: must be 0",
            )
    elif sync.overlap_steps >= sync.inner_steps:
        yield (
            "overlap_steps",
            f"must be below inner_steps {sync.inner_steps:,}, got {sync.overlap_steps:,}",
        )
    if streams != (sync.layers_per_fragment is not None):
        yield "layers_per_fragment", "streaming_diloco needs it, the other methods take none"
    elif streams and len(sync.fragments(layers)) >= sync.inner_steps:
        yield (
            "inner_steps",
            (
                f"{len(sync.fragments(layers))} fragments and that of embedding and head need a "
                f"step each, got {sync.inner_steps:,} steps"
            ),
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
    sequence_parallelism_has_a_group,
    schedule_accepts,
    accelerator_has_the_precision,
    layerwise_norms_see_whole_layers,
    three_phases_sum_whole_gradients,
    traffic_is_consistent,
    islands_are_consistent,
)
"""Rules of every scenario, in the order in which their problems are reported."""
