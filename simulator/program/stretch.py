"""Which part of each task scales with the speed of a rank, and which with that of its network.

Inside an action the ranks of a stage's tensor and context group meet in every collective, so the
group is as fast as its slowest rank. Outside, replicas meet in the collectives of the data axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.parallel.gaps import replica_links, without_nodes
from simulator.parallel.ranks import replica_grid
from simulator.parallel.slots import slots_of
from simulator.program.gradients import GRADIENT_NORM, TIED_EMBEDDING
from simulator.program.tasks import NONE, Lane, SpanKind
from simulator.program.transfers import StageTransfer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.hardware.collectives import GroupSpan
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


@dataclass(frozen=True, slots=True, eq=False)
class GroupTraits:
    """What sets each group of ranks apart: the tensor and context ranks of a stage of a replica.

    Arrays of shape ``(replicas, stages)``.
    """

    compute: Floats
    """Factor of the slowest accelerator."""
    interface: Floats
    """Factor of the slowest interface."""
    links: tuple[tuple[GroupSpan, ...], ...] | None
    """Span of each replica's transfer from every stage to the next; none: as the plan prices it."""

    @classmethod
    def of(cls, perturbations: Perturbations, plan: Plan) -> GroupTraits:
        """Return the traits of all groups of a job.

        Raises
        ------
        SimulatorError
            If a perturbation names a rank or node that the job does not have.
        """
        layout, cluster = plan.scenario.layout, plan.scenario.cluster
        grid = replica_grid(layout)
        links = None
        if perturbations.lost_nodes:
            allocation = without_nodes(
                plan.scenario.placement, perturbations.lost_nodes, layout.ranks, cluster
            )
            slots = slots_of(allocation, layout.ranks, cluster)
            links = replica_links(layout, cluster, slots, plan.scenario.network)
            if layout.virtual_stages == 1:  # nothing goes from the last stage to the first
                links = tuple((*own[:-1], links[0][-1]) for own in links)
        return cls(
            compute=perturbations.compute(grid.size)[grid].max(axis=2),
            interface=perturbations.interface(grid.size)[grid].max(axis=2),
            links=links,
        )

    def features(self) -> Floats:
        """Return all traits as numbers, shape ``(replicas, stages, features)``."""
        number: dict[GroupSpan, int] = {}
        replicas, stages = self.compute.shape
        link = np.zeros((replicas, stages))
        for replica, row in enumerate(self.links or ()):
            link[replica] = [number.setdefault(span, len(number)) for span in row]
        return np.stack([self.compute, self.interface, link], axis=-1)

    def of_replicas(self, chosen: Indices) -> GroupTraits:
        """Return the traits of some replicas."""
        links = self.links and tuple(self.links[replica] for replica in chosen.tolist())
        return GroupTraits(self.compute[chosen], self.interface[chosen], links)


def group_durations(program: Program, plan: Plan, traits: GroupTraits) -> Floats:
    """Return every task's time in each replica [s], shape ``(replicas, tasks)``.

    A group's compute takes as long as that of its slowest rank.
    """
    stretch = Stretch.of(program, plan)
    stage = np.where(program.rank_class == NONE, 0, program.rank_class)
    durations = network_durations(program, plan, stretch, traits)
    return durations + stretch.computed * (traits.compute[:, stage] - 1.0)


def network_durations(
    program: Program, plan: Plan, stretch: Stretch, traits: GroupTraits
) -> Floats:
    """Return every task's time over the links and interfaces of its replica [s].

    Shape ``(replicas, tasks)``; accelerators are not slow here. Only what leaves the node goes
    through an interface:

    * a transfer between two stages takes as long as the slower of its two ends makes it;
    * a collective of the data axis takes as long as the slowest interface of any of its ranks makes
      it, and for all of them (a ring moves at the pace of its slowest link); the gradient norm's
      few bytes do not notice;
    * tensor and context collectives of a group that spans nodes take longer where they are exposed.

    The factor multiplies the whole time, latency included.
    """
    stage = np.where(program.rank_class == NONE, 0, program.rank_class)
    factor = np.ones((len(traits.interface), len(program)))
    _set_sends(factor, program, plan, traits)
    _set_collectives(factor, program, plan, traits.interface)
    return program.duration * factor + stretch.inside * (traits.interface[:, stage] - 1.0)


def _set_sends(factor: Floats, program: Program, plan: Plan, traits: GroupTraits) -> None:
    """Set the factors of transfers between stages."""
    sends = np.flatnonzero(program.peer != NONE)
    sender, receiver = program.rank_class[sends], program.peer[sends]
    replicas, stages = traits.interface.shape
    of_link = np.ones((replicas, stages, stages))
    for one, other in np.unique(np.stack([sender, receiver], axis=1), axis=0).tolist():
        slower = np.maximum(traits.interface[:, one], traits.interface[:, other])
        if traits.links is None:
            leaves = np.full(replicas, plan.placement.link(one, other).nodes > 1)
        else:
            leaves, relative = _own_links(plan, traits.links, one, other)
            of_link[:, one, other] = relative
        of_link[leaves, one, other] *= slower[leaves]
    factor[:, sends] = of_link[:, sender, receiver]


def _own_links(
    plan: Plan, links: tuple[tuple[GroupSpan, ...], ...], sender: int, receiver: int
) -> tuple[NDArray[np.bool_], Floats]:
    """Return whether each replica's transfer leaves its node, and its time over that of the plan.

    Shapes ``(replicas,)``.
    """
    priced = StageTransfer(plan.scenario, plan.placement).cost(sender, receiver).time
    known: dict[GroupSpan, tuple[bool, float]] = {}
    rows = []
    for own in links:
        placement = replace(plan.placement, stage_links=own)
        span = placement.link(sender, receiver)
        if span not in known:
            seconds = StageTransfer(plan.scenario, placement).cost(sender, receiver).time
            known[span] = (span.nodes > 1, seconds / priced)
        rows.append(known[span])
    return np.array([leaves for leaves, _ in rows]), np.array([relative for _, relative in rows])


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
