"""Samples of a step in plain numbers: how step time spreads, what that costs, who sets the pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.metrics.summary import model_flops_utilisation

if TYPE_CHECKING:
    from simulator.metrics.samples import StepSamples
    from simulator.program.build import Plan
    from simulator.program.perturbations import Perturbations
    from simulator.program.variation import Variation
    from simulator.scenario.scenario import Scenario

PERCENTILES: Final = (5, 50, 95, 99)
LISTED: Final = 10
"""Groups that are listed as setting the pace."""


def variation_summary(
    samples: StepSamples,
    plan: Plan,
    variation: Variation,
    perturbations: Perturbations,
    priced: float,
) -> dict[str, Any]:
    """Return the distribution of the step time and its causes (keys: docs/summary.md).

    Parameters
    ----------
    samples
        What was played.
    plan
        Of the job.
    variation, perturbations
        What was drawn, and what was the same in every sample.
    priced
        Step time without any of it [s].
    """
    mean, without_slow = float(samples.step_time.mean()), float(samples.without_slow.mean())
    scenario = plan.scenario
    convention, priced_mfu = _mfu(scenario, priced)
    return {
        **_drawn(scenario, variation, perturbations),
        "step_time_s": {"priced": priced, "without_slow_ranks": without_slow, **_spread(samples)},
        "mfu": {
            "convention": convention,
            "priced": priced_mfu,
            "without_slow_ranks": _mfu(scenario, without_slow)[1],
            "mean": _mfu(scenario, mean)[1],
        },
        "cost_s": {"jitter": without_slow - priced, "slow_ranks": mean - without_slow},
        "slow_critical_fraction": samples.slow_critical / mean,
        "critical_fraction_by_stage": (samples.critical.sum(axis=0) / mean).tolist(),
        "pace": _pace(samples, mean),
        "assumptions": _assumptions(plan, variation),
    }


def perturbation_summary(perturbations: Perturbations, priced: float) -> dict[str, Any]:
    """Return what sets ranks apart in the step itself, and the step time without it [s]."""
    return {**_named(perturbations), "priced_step_time_s": priced}


def _named(perturbations: Perturbations) -> dict[str, Any]:
    return {
        "slow_ranks": {str(rank): factor for rank, factor in perturbations.slow_ranks.items()},
        "slow_interfaces": {
            str(rank): factor for rank, factor in perturbations.slow_interfaces.items()
        },
        "lost_nodes": list(perturbations.lost_nodes),
    }


def _drawn(
    scenario: Scenario, variation: Variation, perturbations: Perturbations
) -> dict[str, Any]:
    slow = variation.slow
    drawn = slow and {
        "share": slow.share,
        "excess": slow.excess,
        "unit": "rank" if slow.ranks_together == 1 else "node",
        "units": slow.count(scenario.accelerators),
        "forward_only": slow.forward_only,
    }
    return {
        "samples": variation.samples,
        "seed": variation.seed,
        "per_rank": variation.per_rank,
        "jitter": str(variation.jitter) if variation.jitter else None,
        "slow_share": drawn,
        **_named(perturbations),
    }


def _spread(samples: StepSamples) -> dict[str, float]:
    times = samples.step_time
    return {
        "mean": float(times.mean()),
        "standard_deviation": float(times.std()),
        "min": float(times.min()),
        **{f"p{share}": float(np.percentile(times, share)) for share in PERCENTILES},
        "max": float(times.max()),
    }


def _mfu(scenario: Scenario, step_time: float) -> tuple[str, float]:
    """Return the convention of headlines, the first, and the MFU by it."""
    return next(iter(model_flops_utilisation(scenario, step_time).items()))


def _pace(samples: StepSamples, mean: float) -> list[dict[str, Any]]:
    """Return the groups for which steps waited longest, and there the rank if ranks drew."""
    most = np.argsort(-samples.critical, axis=None, kind="stable")[:LISTED]
    rows = []
    for place in most[samples.critical.flat[most] > 0]:
        replica, stage = (int(index) for index in np.unravel_index(place, samples.critical.shape))
        ranks = samples.grid[replica, stage]
        row = {
            "replica": replica,
            "stage": stage,
            "ranks": ranks.tolist(),
            "critical_fraction": float(samples.critical[replica, stage]) / mean,
            "paced_samples": int(samples.paced[replica, stage]),
        }
        if samples.critical_of_rank is not None:
            row["slowest_rank"] = int(ranks[samples.critical_of_rank[ranks].argmax()])
        rows.append(row)
    return rows


def _assumptions(plan: Plan, variation: Variation) -> list[str]:
    """Return what the spread of step times leaves out, a sentence each."""
    notes = [
        "A group waits for its slowest rank once per action, not in every collective inside.",
        "Communication, host work and launch waits have no jitter.",
    ]
    if not variation.per_rank and variation.jitter is not None:
        notes.append("A group draws its slowest rank from the distribution of the slowest.")
    built_in = plan.scenario.software.arrival_jitter
    if built_in > 0 and variation.jitter is not None:
        notes.append(
            f"The stack's arrival_jitter of {built_in:g} already has a mean wait for the last rank "
            f"of a tensor group; the jitter drawn here comes on top."
        )
    return notes
