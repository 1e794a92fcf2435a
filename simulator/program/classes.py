"""Rank classes: which groups of ranks behave alike, by partition refinement.

A group is the tensor and context ranks of one stage of one replica: they meet inside every action
and so take the same time. Groups start with the colour of what distinguishes them (stage, slowest
accelerator, slowest interface) and are split by the colours of the groups that they exchange
activations with, until nothing splits any more. Collectives of the data axis join all replicas and
so distinguish none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.parallel.gaps import without_nodes
from simulator.program.build import build_program, make_plan
from simulator.program.fold import split
from simulator.program.stretch import GroupTraits, group_durations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.build import Plan
    from simulator.program.perturbations import Perturbations
    from simulator.program.tasks import Program

    Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ReplicaClasses:
    """Data-parallel replicas by behaviour: the most frequent first, of those the least slow."""

    example: Indices
    """A replica of each class: the first; shape ``(classes,)``."""
    count: Indices
    """Replicas in each class, shape ``(classes,)``."""
    of_replica: Indices
    """Class of each replica, shape ``(replicas,)``."""


def refine(colour: Indices) -> Indices:
    """Return the coarsest colours that tell groups apart whose pipelines differ anywhere.

    Parameters
    ----------
    colour
        What distinguishes groups by themselves, shape ``(replicas, stages)``; groups of different
        stages have different colours.

    Returns
    -------
    array
        Colours from 0, same shape: equal for groups with equal colours whose neighbours along the
        pipeline have equal colours, and so on.
    """
    replicas, stages = colour.shape
    classes = 0
    while True:
        near = [colour, np.roll(colour, 1, axis=1), np.roll(colour, -1, axis=1)]
        rows = np.stack(near, axis=-1).reshape(replicas * stages, -1)
        _, numbers = np.unique(rows, axis=0, return_inverse=True)
        colour = numbers.reshape(replicas, stages)
        if colour.max() + 1 == classes:
            return colour
        classes = int(colour.max()) + 1


def replica_classes(features: NDArray[np.float64]) -> ReplicaClasses:
    """Return which replicas behave alike.

    Parameters
    ----------
    features
        What distinguishes the groups of a stage, shape ``(replicas, stages, features)``.
    """
    replicas, stages, width = features.shape
    stage = np.broadcast_to(np.arange(stages)[:, np.newaxis], (replicas, stages, 1))
    rows = np.concatenate([stage, features], axis=2).reshape(-1, width + 1)
    _, colour = np.unique(rows, axis=0, return_inverse=True)
    # All groups of a replica are linked, so any stage's colours tell its replicas apart.
    chain = refine(colour.reshape(replicas, stages))[:, 0]
    _, example, number, count = np.unique(
        chain, return_index=True, return_inverse=True, return_counts=True
    )
    frequent = np.lexsort((example, features[example].sum(axis=(1, 2)), -count))
    position = np.argsort(frequent)
    return ReplicaClasses(example[frequent], count[frequent], position[number])


def perturbed(program: Program, plan: Plan, perturbations: Perturbations) -> Program:
    """Return ``program`` with the rank classes that ``perturbations`` split, split.

    A healthy program has a rank class for each stage; every kind of perturbed pipeline adds as
    many again, the others stay folded. Class c of the k-th kind of replica, the most frequent
    first, is class ``k * program.rank_classes + c``.

    Raises
    ------
    SimulatorError
        If a perturbation names a rank or node that the job does not have.
    """
    traits = GroupTraits.of(perturbations, plan)
    classes = replica_classes(traits.features())
    moved = move(plan, perturbations)
    if moved is not plan:
        program = build_program(moved)
    durations = group_durations(program, moved, traits.of_replicas(classes.example))
    return split(program, durations, classes.count)


def move(plan: Plan, perturbations: Perturbations) -> Plan:
    """Return ``plan`` priced with its ranks around the lost nodes, itself if none is lost.

    Only what crosses nodes has another price: kernels and memory are the same.
    """
    if not perturbations.lost_nodes:
        return plan
    scenario = plan.scenario
    allocation = without_nodes(
        scenario.placement, perturbations.lost_nodes, scenario.layout.ranks, scenario.cluster
    )
    return make_plan(replace(scenario, placement=allocation), plan.schedule)
