"""Which part of each task scales with the speed of a rank, and which with that of its network.

Inside an action the ranks of a stage's tensor and context group meet in every collective, so the
group is as fast as its slowest rank. Outside, replicas meet in the collectives of the data axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.parallel.ranks import replica_grid
from simulator.program.gradients import GRADIENT_NORM, TIED_EMBEDDING
from simulator.program.tasks import NONE, Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.program.build import Plan
    from simulator.program.perturbations import Perturbations
    from simulator.program.tasks import Program

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

COMPUTED: Final = frozenset(
    {
        SpanKind.FORWARD,
        SpanKind.BACKWARD,
        SpanKind.INPUT_GRADIENT,
        SpanKind.WEIGHT_GRADIENT,
        SpanKind.RECOMPUTE,
        SpanKind.OPTIMIZER,
    }
)
"""What takes longer on a slow accelerator; host work and waits for launches do not."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The tasks of a program by what their time scales with; columns of shape ``(tasks,)``."""

    computed: Floats
    """Time that scales with the accelerator's [s]."""
    inside: Floats
    """Exposed communication inside an action through the network's interfaces [s]."""

    @classmethod
    def of(cls, program: Program, plan: Plan) -> Stretch:
        """Return the parts of every task of a scenario's program."""
        placed = plan.placement
        crossing = {
            kind
            for kind, part in ((SpanKind.TENSOR, placed.tensor), (SpanKind.CONTEXT, placed.context))
            if part.span.nodes > 1
        }
        return cls(_time_of(program, COMPUTED), _time_of(program, crossing))


def _time_of(program: Program, kinds: Iterable[SpanKind]) -> Floats:
    """Return the time that the compute lane spends on ``kinds`` in each task [s]."""
    chosen = frozenset(kinds)
    shares = [
        sum(seconds for kind, seconds in pattern.lane_time().items() if kind in chosen)
        / (pattern.duration or 1.0)
        for pattern in program.patterns
    ]
    plain = np.isin(program.kind, [int(kind) for kind in chosen])
    share = np.where(program.pattern == NONE, plain, np.array([*shares, 0.0])[program.pattern])
    on_lane = (program.lane == Lane.COMPUTE) & (program.peer == NONE)
    time: Floats = program.duration * share * on_lane
    return time


def group_factors(perturbations: Perturbations, plan: Plan) -> tuple[Floats, Floats]:
    """Return the slowest compute and interface factor of every group.

    Shapes ``(replicas, stages)``: a group is the tensor and context ranks of one stage of one
    replica.
    """
    grid = replica_grid(plan.scenario.layout)
    compute = perturbations.compute(grid.size)[grid].max(axis=2)
    interface = perturbations.interface(grid.size)[grid].max(axis=2)
    return compute, interface


def group_durations(program: Program, plan: Plan, compute: Floats, interface: Floats) -> Floats:
    """Return every task's time in each replica [s], shape ``(replicas, tasks)``.

    ``compute`` and ``interface`` are factors of shape ``(replicas, stages)``, as from
    `group_factors`. A group's compute takes as long as that of its slowest rank.
    """
    stretch = Stretch.of(program, plan)
    stage = np.where(program.rank_class == NONE, 0, program.rank_class)
    durations = network_durations(program, plan, stretch, interface)
    return durations + stretch.computed * (compute[:, stage] - 1.0)


def network_durations(program: Program, plan: Plan, stretch: Stretch, interface: Floats) -> Floats:
    """Return every task's time with slow interfaces but no slow accelerators [s].

    Shape ``(replicas, tasks)`` for ``interface`` of shape ``(replicas, stages)``, as from
    `group_factors`. Only what leaves the node goes through an interface:

    * a transfer between two stages takes as long as the slower of its two ends makes it;
    * a collective of the data axis takes as long as the slowest interface of any of its ranks makes
      it, and for all of them (a ring moves at the pace of its slowest link); the gradient norm's
      few bytes do not notice;
    * tensor and context collectives of a group that spans nodes take longer where they are exposed.

    The factor multiplies the whole time, latency included.
    """
    stage = np.where(program.rank_class == NONE, 0, program.rank_class)
    factor = np.ones((len(interface), len(program)))
    _set_sends(factor, program, plan, interface)
    _set_collectives(factor, program, plan, interface)
    return program.duration * factor + stretch.inside * (interface[:, stage] - 1.0)


def _set_sends(factor: Floats, program: Program, plan: Plan, interface: Floats) -> None:
    """Set the factors of transfers between stages."""
    sends = np.flatnonzero(program.peer != NONE)
    sender, receiver = program.rank_class[sends], program.peer[sends]
    stages = len(plan.placement.stage_links)
    leaves = np.zeros((stages, stages), dtype=np.bool_)
    for pair in np.unique(np.stack([sender, receiver], axis=1), axis=0).tolist():
        leaves[*pair] = plan.placement.link(*pair).nodes > 1
    slower = np.maximum(interface[:, sender], interface[:, receiver])
    factor[:, sends] = np.where(leaves[sender, receiver], slower, 1.0)


def _set_collectives(factor: Floats, program: Program, plan: Plan, interface: Floats) -> None:
    """Set the factors of gradients, parameters and the tied embedding."""
    data = np.flatnonzero(program.lane == Lane.DATA)
    names = np.array(program.names)[program.name[data]]
    if plan.placement.stage_links[-1].nodes > 1:
        tied = data[names == TIED_EMBEDDING]
        factor[:, tied] = np.maximum(interface[:, 0], interface[:, -1])[:, np.newaxis]
    if plan.placement.gradient.span.nodes > 1:
        shared = data[(names != TIED_EMBEDDING) & (names != GRADIENT_NORM)]
        factor[:, shared] = interface.max(axis=0)[program.rank_class[shared]]
