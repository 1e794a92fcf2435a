"""Which patterns can carry out a collective in a place, and which one a library takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError
from simulator.hardware.collectives import Algorithm
from simulator.hardware.interfaces import interfaces_of
from simulator.hardware.node import ScaleUp
from simulator.hardware.patterns import PATTERNS, Pattern, fills_a_box
from simulator.operators import Collective

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.members import Members

NVLS_RANKS: Final = 5
"""Ranks of one NVLink domain from which on its switches reduce faster than a ring does.

NVIDIA/nccl-tests issue 1455: four H100 and fewer reach the same with either.
"""


def require_possible(
    kind: Collective, pattern: Pattern, members: Members, cluster: Cluster
) -> None:
    """Raise if a collective cannot be carried out by a pattern, or not in this place.

    Raises
    ------
    SimulatorError
        Says why, and what is possible.
    """
    if pattern not in PATTERNS[kind]:
        able = ", ".join(PATTERNS[kind])
        raise SimulatorError(f"no {kind} is done by {pattern}; it is by: {able}")
    reason = objection(pattern, members, cluster)
    if reason:
        able = ", ".join(possible(kind, members, cluster)) or "nothing"
        raise SimulatorError(f"{pattern} is not possible here: {reason}; possible is: {able}")


def possible(kind: Collective, members: Members, cluster: Cluster) -> list[Pattern]:
    """Return the patterns by which a collective can be carried out in a place."""
    return [pattern for pattern in PATTERNS[kind] if not objection(pattern, members, cluster)]


def usual_pattern(kind: Collective, members: Members, cluster: Cluster) -> Pattern:
    """Return how a library goes about a large message of a collective of two ranks or more.

    Between more than two nodes a tree and a ring move the same bytes in all, differently spread.
    """
    able = possible(kind, members, cluster)
    if kind is Collective.ALL_REDUCE and members.nodes > 1:
        line = cluster.fabric.collectives.line(kind, cluster.fabric.name)
        if line.algorithm is Algorithm.TREE:
            return Pattern.TREE
    if kind is Collective.ALL_REDUCE and Pattern.NVLS in able and members.ranks >= NVLS_RANKS:
        return Pattern.NVLS
    preferred = (Pattern.PXN, Pattern.TORUS, Pattern.RING, Pattern.PAIRWISE)
    return next(pattern for pattern in preferred if pattern in able)


def objection(pattern: Pattern, members: Members, cluster: Cluster) -> str:
    """Return why a pattern is not possible in a place, nothing if it is."""
    if members.ranks == 1:
        return "a group of one rank sends nothing"
    object_to = _OBJECTIONS.get(pattern)
    return object_to(members, cluster) if object_to else ""


def _to_nvls(members: Members, cluster: Cluster) -> str:
    if not cluster.node.in_switch_reduction or cluster.node.scale_up is not ScaleUp.SWITCH:
        return f"the switches of {cluster.node.name} do not reduce (in_switch_reduction)"
    return "the group leaves its NVLink domain" if members.nodes > 1 else ""


def _to_sharp(members: Members, cluster: Cluster) -> str:
    if not cluster.fabric.in_network_reduction:
        return f"the switches of {cluster.fabric.name} do not reduce (in_network_reduction)"
    islands = cluster.fabric.islands
    if islands and len(np.unique(members.slots // islands.accelerators)) > 1:
        return "the group crosses islands, and no switch reduces between them"
    return _to_network(members, cluster)


def _to_network(members: Members, _: Cluster) -> str:
    return "the group stays inside its node" if members.nodes == 1 else ""


def _to_pxn(members: Members, cluster: Cluster) -> str:
    if members.nodes == 1:
        return _to_network(members, cluster)
    if not members.aligned:
        return "members use other places in some nodes than in others"
    by_rail = interfaces_of(cluster).rails > 1
    return "" if by_rail else f"the interfaces of {cluster.fabric.name} hang on no rails"


def _to_torus(members: Members, cluster: Cluster) -> str:
    if cluster.node.scale_up is not ScaleUp.TORUS:
        return f"{cluster.node.name} is no torus"
    filled = fills_a_box(members, cluster.node.torus or ())
    return "" if filled else "the group fills no box of the torus"


_OBJECTIONS: Final[Mapping[Pattern, Callable[[Members, Cluster], str]]] = {
    Pattern.NVLS: _to_nvls,
    Pattern.SHARP: _to_sharp,
    Pattern.HIERARCHICAL: _to_network,
    Pattern.PXN: _to_pxn,
    Pattern.TORUS: _to_torus,
}
