"""What sets ranks apart, as tables of the terminal: the spread of the step, its cost, its pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.text import Text

from simulator.report.listing import plain_table
from simulator.report.quantities import percent_text, significant, time_text, time_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType
    from rich.table import Table

SHOWN: Final = 5
"""Lines of the table of who sets the pace."""
MOST_RANKS: Final = 4
"""Ranks that are listed one by one."""


def perturbation_table(summary: Mapping[str, Any]) -> RenderableType:
    """Return the ranks that are set apart, and what they cost.

    Parameters
    ----------
    summary
        Summary of a step with the key ``perturbations``.
    """
    named = summary["perturbations"]
    table = plain_table("Ranks set apart")
    table.add_column("what")
    table.add_column("which")
    table.add_column("factor", justify="right")
    for what, key in (("compute", "slow_ranks"), ("interface", "slow_interfaces")):
        for rank, factor in named[key].items():
            table.add_row(what, f"rank {rank}", f"{factor:g}")
    for node in named["lost_nodes"]:
        table.add_row("left out", f"node {node}", "")
    extra = summary["step_time_s"] - named["priced_step_time_s"]
    share = extra / named["priced_step_time_s"]
    cost = (
        f"Together they cost {_seconds(extra)} ({percent_text(share)}) and make "
        f"{summary['rank_classes']} rank classes"
    )
    return Group(table, Text(cost))


def variation_tables(variation: Mapping[str, Any]) -> list[RenderableType]:
    """Return how the step time spreads, what that costs and who sets the pace.

    Parameters
    ----------
    variation
        The key ``variation`` of a step's summary.
    """
    return [_times(variation), Group(_pace(variation), _stages(variation))]


def drawn_headline(variation: Mapping[str, Any]) -> str:
    """Return what a headline adds about samples: mean, 99th percentile and MFU."""
    times = variation["step_time_s"]
    mfu = percent_text(variation["mfu"]["mean"])
    return f"; as drawn {time_text(times['mean'])} (p99 {time_text(times['p99'])}), MFU {mfu}"


def drawn_text(variation: Mapping[str, Any]) -> str:
    """Return in a few words what was drawn."""
    parts = []
    if variation["jitter"]:
        parts.append(f"jitter {variation['jitter']}")
    slow = variation["slow_share"]
    if slow:
        passes = "forward passes" if slow["forward_only"] else "compute"
        units = f"{slow['units']:,} slow {slow['unit']}{'s' if slow['units'] != 1 else ''}"
        parts.append(f"{units} ({passes} +{percent_text(slow['excess'])})")
    named = len({*variation["slow_ranks"], *variation["slow_interfaces"]})
    if named:
        parts.append(f"{named} rank{'s' if named > 1 else ''} set apart")
    if variation["lost_nodes"]:
        lost = len(variation["lost_nodes"])
        parts.append(f"{lost} node{'s' if lost > 1 else ''} left out")
    return ", ".join(parts) or "nothing drawn"


def _times(variation: Mapping[str, Any]) -> RenderableType:
    """Return the step time as priced, with jitter, and with slow ranks, too."""
    times, mfu = variation["step_time_s"], variation["mfu"]
    size_s, unit = time_unit(times["priced"])
    samples = f"{variation['samples']:,} sample{'s' if variation['samples'] != 1 else ''}"
    each = "every rank itself" if variation["per_rank"] else "groups folded"
    table = plain_table(f"Step time in {unit}: {samples}, seed {variation['seed']}, {each}")
    table.add_column("")
    for heading in ("mean", "p5", "p50", "p95", "p99", f"MFU ({mfu['convention']})"):
        table.add_column(heading, justify="right")

    def row(name: str, values: Sequence[float], share: float) -> None:
        numbers = [f"{value / size_s:.3f}" for value in values]
        blanks = [""] * (5 - len(numbers))
        table.add_row(name, *numbers, *blanks, percent_text(share))

    row("as priced", [times["priced"]], mfu["priced"])
    if variation["cost_s"]["slow_ranks"]:
        row("none slow", [times["without_slow_ranks"]], mfu["without_slow_ranks"])
    drawn = [times[key] for key in ("mean", "p5", "p50", "p95", "p99")]
    row("as drawn", drawn, mfu["mean"])
    return Group(table, Text(f"Drawn: {drawn_text(variation)}"), *_costs(variation))


def _costs(variation: Mapping[str, Any]) -> list[Text]:
    mfu, cost = variation["mfu"], variation["cost_s"]
    lines = []
    if variation["jitter"]:
        points = 100 * (mfu["priced"] - mfu["without_slow_ranks"])
        lines.append(f"Jitter costs {_seconds(cost['jitter'])} and {points:.2f} MFU points")
    if cost["slow_ranks"]:
        points = 100 * (mfu["without_slow_ranks"] - mfu["mean"])
        lines.append(
            f"Slow ranks cost {_seconds(cost['slow_ranks'])} and {points:.2f} MFU points; steps "
            f"wait {percent_text(variation['slow_critical_fraction'])} of their time for them"
        )
    return [Text(line) for line in lines]


def _pace(variation: Mapping[str, Any]) -> Table:
    """Return the groups for which steps waited longest."""
    rows = variation["pace"][:SHOWN]
    slowest = any("slowest_rank" in row for row in rows)
    table = plain_table("Who sets the pace (share of step time spent waiting for their compute)")
    for heading in ("replica", "stage"):
        table.add_column(heading, justify="right")
    table.add_column("ranks")
    table.add_column("share", justify="right")
    table.add_column("longest in", justify="right")
    if slowest:
        table.add_column("mostly rank", justify="right")
    for row in rows:
        table.add_row(
            str(row["replica"]),
            str(row["stage"]),
            ranks_text(row["ranks"]),
            percent_text(row["critical_fraction"]),
            f"{row['paced_samples']:,} of {variation['samples']:,}",
            *([str(row["slowest_rank"])] if slowest else []),
        )
    return table


def _stages(variation: Mapping[str, Any]) -> Text:
    """Return the stages for which steps waited longest, whichever the replica."""
    shares = dict(enumerate(variation["critical_fraction_by_stage"]))
    most = sorted(shares, key=lambda stage: -shares[stage])[:SHOWN]
    listed = ", ".join(f"{stage} ({percent_text(shares[stage])})" for stage in most)
    return Text(f"Stages of any replica: {listed}")


def ranks_text(ranks: Sequence[int]) -> str:
    """Return ranks as a range if they are neighbours, else one by one, at most a few.

    Examples
    --------
    >>> ranks_text([8, 9, 10, 11]), ranks_text([1, 5]), ranks_text([0, 2, 4, 6, 8])
    ('8-11', '1, 5', '0, 2, 4, 6, …')
    """
    if len(ranks) > 1 and list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"{ranks[0]}-{ranks[-1]}"
    more = ["…"] if len(ranks) > MOST_RANKS else []
    return ", ".join([*map(str, ranks[:MOST_RANKS]), *more])


def _seconds(seconds: float) -> str:
    """Return a difference of step times with its unit and sign."""
    size_s, unit = time_unit(abs(seconds))
    sign = "-" if seconds < 0 else ""
    return f"{sign}{significant(abs(seconds) / size_s)} {unit}"
