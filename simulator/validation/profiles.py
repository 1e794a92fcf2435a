"""Profiles that many rows share: each is read once, so that the costs of its parts are kept."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.software import Software

if TYPE_CHECKING:
    from simulator.catalog import Catalog


@cache
def cluster_of(name: str, catalog: Catalog) -> Cluster:
    """Return the cluster profile called ``name``."""
    return validate(Cluster, catalog.document("cluster", name))


@cache
def stack_profile(name: str, catalog: Catalog) -> Software:
    """Return the software profile called ``name``."""
    return validate(Software, catalog.document("software", name))
