"""Rules between a scenario's fields and its model: of transformers, of convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.errors import LayoutError
from simulator.parallel.blocks import Recomputation
from simulator.parallel.stages import split_layers
from simulator.precision import Precision
from simulator.workload.convolutional import ConvolutionalNetwork, module_problems
from simulator.workload.parameters import layer_parameters_per_rank
from simulator.workload.transformer import Positions, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.scenario.scenario import Scenario

    Finding = tuple[str, str]
    """Field path and message."""
    TransformerCheck = Callable[[Scenario, Transformer], Iterator[Finding]]


def model_findings(scenario: Scenario) -> Iterator[Finding]:
    """Yield every broken rule of the kind of model as (field path, message)."""
    model = scenario.model
    if isinstance(model, ConvolutionalNetwork):
        yield from network_is_whole(scenario)
        yield from network_is_consistent(model)
        return
    for check in TRANSFORMER_CHECKS:
        yield from check(scenario, model)


def sequence_fits_the_positions(scenario: Scenario, model: Transformer) -> Iterator[Finding]:
    """Require enough positions where a model has learned ones."""
    most, length = model.max_positions, scenario.batch.sequence_length
    if 0 < most < length:
        yield (
            "batch.sequence_length",
            f"{length:,} tokens, but {model.name} has {most:,} learned positions",
        )


def model_is_consistent(_: Scenario, model: Transformer) -> Iterator[Finding]:
    """Require heads that share keys evenly, and positions and norms that go together."""
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


def experts_are_local(scenario: Scenario, model: Transformer) -> Iterator[Finding]:
    """Require as many experts as a token needs, whole on every rank."""
    experts = model.experts
    if experts is None:
        return
    if experts.per_token > experts.count:
        yield (
            "model.experts.per_token",
            f"{experts.per_token} experts of {experts.count} cannot be chosen",
        )
    if model.parallel_block:
        yield "model.experts", "a parallel block has a dense MLP"
    if scenario.layout.tensor > 1:
        yield (
            "layout.tensor",
            f"must be 1: {model.name} is simulated with all its experts whole on every rank",
        )


def heads_divide(scenario: Scenario, model: Transformer) -> Iterator[Finding]:
    """Require tensor parallelism to cut heads, key/value heads and the MLP evenly."""
    try:
        layer_parameters_per_rank(model, scenario.layout.tensor)
    except LayoutError as error:
        yield "layout.tensor", str(error)


def layers_fit_the_stages(scenario: Scenario, model: Transformer) -> Iterator[Finding]:
    """Require a layer on every inner virtual stage, and every layer in an explicit split."""
    layout, layers = scenario.layout, model.layers
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
            f"adds up to {sum(layout.layers)} layers, but {model.name} has {layers}",
        )


def accelerator_has_bf16(scenario: Scenario, _: Transformer) -> Iterator[Finding]:
    """Require a bf16 rate for attention and head."""
    accelerator = scenario.cluster.accelerator
    if Precision.BF16 not in accelerator.achievable_flop_rate:
        yield "cluster.accelerator", f"{accelerator.name} has no bf16 rate for attention and head"


def network_is_whole(scenario: Scenario) -> Iterator[Finding]:
    """Require pure data parallelism on whole images for a convolutional network."""
    layout, name = scenario.layout, scenario.model.name
    for axis in ("tensor", "context", "pipeline", "virtual_stages"):
        degree = getattr(layout, axis)
        if degree != 1:
            message = (
                f"{name} is a convolutional network, of which only data parallelism is simulated"
            )
            yield f"layout.{axis}", f"{message}: must be 1, got {degree}"
    if layout.layers is not None:
        yield "layout.layers", f"{name} is a convolutional network, which is not cut"
    if scenario.batch.sequence_length != 1:
        yield (
            "batch.sequence_length",
            f"{name} takes images, each a sequence of 1; got {scenario.batch.sequence_length:,}",
        )
    if scenario.recompute.mode is not Recomputation.NONE:
        yield "recompute", f"{name} is a convolutional network, which recomputes none"


def network_is_consistent(network: ConvolutionalNetwork) -> Iterator[Finding]:
    """Require modules whose shapes go together, without settings that they would ignore."""
    for message in module_problems(network):
        yield "model.modules", message


TRANSFORMER_CHECKS: tuple[TransformerCheck, ...] = (
    sequence_fits_the_positions,
    model_is_consistent,
    experts_are_local,
    heads_divide,
    layers_fit_the_stages,
    accelerator_has_bf16,
)
"""Rules of scenarios with a transformer."""
