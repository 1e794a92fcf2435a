"""What flows that meet cost each other, and how much of their links they use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.program.tasks import SpanKind

if TYPE_CHECKING:
    from simulator.engine.trace import Trace


def transfers(trace: Trace) -> dict[str, dict[str, float]]:
    """Return for each kind of flow how much longer it took than with its links to itself.

    Keys: ``count`` (in all rank classes), ``alone_s`` and ``shared_s`` (seconds of one rank's
    flows, mean over ranks, with the links to themselves and as they were), ``slowdown`` (their
    ratio). Kinds without flows are left out; a program without links gives nothing.
    """
    program = trace.program
    flows = np.diff(program.links.offsets) > 0
    share = program.weight[program.rank_class] / program.weight.sum()
    told: dict[str, dict[str, float]] = {}
    for kind in np.unique(program.kind[flows]).tolist():
        these = np.flatnonzero(flows & (program.kind == kind))
        alone = float(share[these] @ program.duration[these])
        took = float(share[these] @ trace.duration[these])
        told[SpanKind(kind).name.lower()] = {
            "count": len(these),
            "alone_s": alone,
            "shared_s": took,
            "slowdown": took / alone,
        }
    return told


def link_use(trace: Trace) -> list[dict[str, Any]]:
    """Return for each kind of link how much of what it could carry in the step it did.

    Keys: ``link``, ``mean_use`` and ``highest_use`` (shares, over rank classes), ``stage`` (of the
    highest). Links that carry nothing are left out.
    """
    program, use = trace.program, trace.link_use
    links = program.links
    rows: list[dict[str, Any]] = []
    for name in np.unique(links.name).tolist():
        these = np.flatnonzero(links.name == name)
        busiest = these[np.argmax(use[these])]
        if use[busiest] > 0:
            rows.append(
                {
                    "link": links.names[name],
                    "mean_use": float(use[these].mean()),
                    "highest_use": float(use[busiest]),
                    "stage": int(program.stage[links.rank_class[busiest]]),
                }
            )
    return rows
