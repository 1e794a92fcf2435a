"""How kernels suffer beside a collective: the section ``overlap`` of a kernels profile."""

from __future__ import annotations

from simulator.fields import AtLeastOne, Share, record


@record
class OverlapModel:
    """What a kernel loses beside blocks that stay on some multiprocessors and move memory."""

    tiled_multiprocessors_lost: AtLeastOne
    """Multiprocessors that a tiled product loses for each one taken: above 1 where its
    tiles run in clusters, which a single occupied multiprocessor of the cluster's place blocks."""
    bandwidth_yield: Share
    """Share of the bandwidth the other would use alone that a memory-bound kernel gives up; the
    rest comes from the other's slowing down."""
