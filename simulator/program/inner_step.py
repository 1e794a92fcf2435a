"""The step of one island, and the tasks at which other islands matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.hardware.operator_costs import operator_time
from simulator.operators import OptimizerUpdate
from simulator.parallel.layout import Sharding
from simulator.program.build import build_by_block
from simulator.program.builder import ProgramBuilder
from simulator.program.tasks import NONE, Lane, Program, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.parallel.blocks import PlacedBlock
    from simulator.program.build import Plan

    Indices = NDArray[np.int64]

OUTER_TRAFFIC: Final = 38.0
"""Memory traffic of the outer step [B per parameter], counted in fp32.

Difference to the last merged parameters: read both (8), write it (4). Nesterov momentum: read the
averaged difference (4), read and write the momentum (8) and the merged parameters (8), write the
parameters (4) and their bf16 copy (2).
"""
OUTER_STATE: Final = 8.0
"""What the outer optimizer keeps [B per parameter]: last merged parameters and momentum in fp32."""


@dataclass(frozen=True, slots=True, eq=False)
class InnerStep:
    """One step of an island as a program; the other columns have shape ``(blocks,)``."""

    program: Program
    layer: Indices
    """Layer of the model, `NONE` for embedding and head."""
    parameters: NDArray[np.float64]
    """What the ranks of the island exchange of the block, each what it holds."""
    needs: Indices
    """Task that needs the block's parameters first."""
    reads: Indices
    """Forward pass of the block, before which merged parameters are computed."""
    merge_time: NDArray[np.float64]
    """Time of that outer optimizer step [s]."""
    gradient: Indices
    """Task after which the block's gradient is there, summed inside the island."""
    updated: Indices
    """Task after which the inner optimizer has updated the block."""
    applies: Indices
    """Task that applies the gradient of all islands; `NONE`: what ``needs`` it in the next step."""


def inner_step(plan: Plan) -> InnerStep:
    """Return the step of a scenario, block by block.

    Every rank exchanges what it holds with its peers in the other islands: norms and biases that
    tensor-parallel ranks replicate travel from each of them. The outer step is sharded where the
    inner optimizer is, and runs before the first forward pass that uses its result.
    """
    marked = build_by_block(plan)
    places = list(_places(plan))
    layout = plan.scenario.layout
    share = layout.gradient_ranks if layout.sharding is Sharding.OPTIMIZER else 1
    held = np.array([block.parameters for _, _, _, block in places], dtype=np.float64)

    def merge_time(parameters: float) -> float:
        update = OptimizerUpdate("outer_optimizer", parameters, OUTER_TRAFFIC)
        return operator_time(update, plan.scenario.cluster.accelerator)

    return InnerStep(
        program=marked.program,
        layer=np.array([NONE if b.layer is None else b.layer for _, _, _, b in places]),
        parameters=held * layout.tensor,
        needs=np.array([marked.needs[virtual][at] for _, virtual, at, _ in places]),
        reads=np.array([marked.reads[virtual][at] for _, virtual, at, _ in places]),
        merge_time=np.array([merge_time(parameters / share) for parameters in held]),
        gradient=np.array([marked.gradients[virtual][at] for _, virtual, at, _ in places]),
        updated=np.array([marked.updated[stage] for stage, _, _, _ in places]),
        applies=np.array([marked.applied[stage] for stage, _, _, _ in places]),
    )


def equal_layers(layers: int, parameters: float, step_time: float) -> InnerStep:
    """Return a step of nothing but ``layers`` equal layers: the model of Streaming DiLoCo.

    Each layer has a forward pass, a backward pass for its activations (not the first, which has
    nobody to hand a gradient to) and one for its parameters, all equally long: 3 L - 1 tasks on
    one compute lane, L exchanges beside it. What the step computes counts as done when its last
    backward pass is.

    Parameters
    ----------
    layers
        Layers of the model (L).
    parameters
        Parameters of the model, spread evenly.
    step_time
        Time of the step without any exchange [s].

    References
    ----------
    Douillard et al. 2025, arXiv 2501.18512, section 3.1: 4 L - 1 nodes. That nodes are equally
    long is taken here; the text does not say.
    """
    builder = ProgramBuilder([0], [1.0])
    node = step_time / (3 * layers - 1)

    def add(name: str, kind: SpanKind, layer: NDArray[np.int64]) -> Indices:
        return builder.add(
            len(layer),
            name=builder.name(name),
            rank_class=0,
            lane=Lane.COMPUTE,
            kind=kind,
            duration=node,
            layer=layer,
        )

    forward = add("forward", SpanKind.FORWARD, np.arange(layers))
    gradient = np.zeros(layers, dtype=np.int64)
    for layer in range(layers - 1, -1, -1):
        if layer > 0:
            add("backward_activations", SpanKind.INPUT_GRADIENT, np.array([layer]))
        gradient[layer] = add("backward_parameters", SpanKind.WEIGHT_GRADIENT, np.array([layer]))[0]
    return InnerStep(
        program=builder.build(),
        layer=np.arange(layers),
        parameters=np.full(layers, parameters / layers),
        needs=forward,
        reads=forward,
        merge_time=np.zeros(layers),
        gradient=gradient,
        updated=gradient,
        applies=np.full(layers, NONE),
    )


def _places(plan: Plan) -> Iterator[tuple[int, int, int, PlacedBlock]]:
    """Yield stage, virtual stage, position in it and block, for every block in model order."""
    stage_of = {
        virtual: stage for stage, held in enumerate(plan.schedule.placement) for virtual in held
    }
    for virtual, part in enumerate(plan.stages):
        for at, block in enumerate(part.blocks):
            yield stage_of[virtual], virtual, at, block
