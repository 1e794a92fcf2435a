"""A step's summary as rich renderables: what the command line shows.

Every table reads at 80 columns and without colour, which only repeats what the words say.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator import units
from simulator.report.listing import plain_table, spaced
from simulator.report.palette import MEMORY_COLOURS
from simulator.report.quantities import (
    count_text,
    percent_text,
    significant,
    time_text,
    time_unit,
)
from simulator.report.variation_tables import (
    drawn_headline,
    perturbation_table,
    variation_tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

HEADLINE_CONVENTION: Final = "palm"
"""Convention of model FLOPs in headlines: the one that MFU was defined with (PaLM, appendix B)."""

MOST_STAGES: Final = 16
"""Lines of the memory table; of more stages the fullest are shown."""

HYPHENATED: Final = {
    "gradients": "gra-\ndients",
    "optimizer": "opti-\nmizer",
    "activations": "acti-\nvations",
    "working": "work-\ning",
    "fragmentation": "fragmen-\ntation",
    "framework": "frame-\nwork",
}
"""Headings in two lines: all components side by side fit 80 columns."""

BAR_WIDTH: Final = 24
"""Characters of the bar of a part that takes the whole step."""


def summary_tables(summary: Mapping[str, Any]) -> list[RenderableType]:
    """Return all that a summary says, from the headline down.

    Parameters
    ----------
    summary
        Summary of a step, as written to ``summary.json``.
    """
    parts: list[RenderableType] = [
        headline(summary),
        description(summary),
        throughput_table(summary),
        breakdown_table(summary),
        memory_table(summary),
    ]
    if summary["groups"]:
        parts.append(groups_table(summary["groups"]))
    if "perturbations" in summary:
        parts.append(perturbation_table(summary))
    if "variation" in summary:
        parts += variation_tables(summary["variation"])
    notes = [*summary["assumptions"], *summary.get("variation", {}).get("assumptions", [])]
    if notes:
        parts.append(_listing("Assumptions", notes))
    return spaced(parts)


def headline(summary: Mapping[str, Any]) -> Text:
    """Return one sentence: step time, tokens/s and MFU; of samples their mean, p99 and MFU, too."""
    mfu = percent_text(summary["mfu"][HEADLINE_CONVENTION])
    facts = (
        f"one step takes {time_text(summary['step_time_s'])}",
        f"{count_text(summary['tokens_per_s'])} tokens/s",
        f"MFU {mfu} ({HEADLINE_CONVENTION})",
    )
    drawn = drawn_headline(summary["variation"]) if "variation" in summary else ""
    return Text(f"{summary['scenario']}: {', '.join(facts)}{drawn}", style="bold")


def description(summary: Mapping[str, Any]) -> Table:
    """Return what was simulated: model, accelerators, layout, batch, schedule, software."""
    batch = summary["batch"]
    parameters = count_text(summary["parameters"]).replace("G", "B")  # the field counts billions
    lines = {
        "model": f"{summary['model']}, {parameters} parameters, {summary['precision']}",
        "cluster": f"{summary['cluster']}, {summary['accelerators']:,} x {summary['accelerator']}",
        "layout": ", ".join(_layout(summary["layout"])),
        "batch": f"{batch['global_batch']:,} sequences of {batch['sequence_length']:,} tokens, "
        f"{batch['micro_batches']:,} micro-batches of {batch['micro_batch']} per pipeline",
        "schedule": f"{summary['schedule']}, recomputation {summary['recompute']['mode']}",
        "software": f"{summary['software']}",
        "engine": f"{summary['engine']}",
        "speed": f"{count_text(summary['tokens_per_step'])} tokens per step, "
        f"{significant(summary['tokens_per_s_per_accelerator'])} tokens/s per accelerator",
    }
    grid = Table.grid(padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(Text(name, style="dim"), Text(line))
    return grid


def throughput_table(summary: Mapping[str, Any]) -> Table:
    """Return model FLOPs, FLOP/s, MFU and HFU by convention."""
    peak = f"dense peak {significant(summary['peak_tflop_per_s'])} TFLOP/s"
    table = plain_table(f"Utilisation ({peak} per accelerator)")
    _add_columns(table, "convention", "model TFLOP/token", "TFLOP/s/accelerator", "MFU", "HFU")
    for convention, n_flop in summary["model_flop_per_token"].items():
        table.add_row(
            convention,
            significant(n_flop / units.TERA),
            significant(summary["tflop_per_s_per_accelerator"][convention]),
            percent_text(summary["mfu"][convention]),
            percent_text(summary["hfu"][convention]),
        )
    return table


def breakdown_table(summary: Mapping[str, Any]) -> Table:
    """Return where the step goes: time and share of every part that takes any."""
    parts = {part: time_s for part, time_s in summary["breakdown_s"].items() if time_s}
    step_time_s = summary["step_time_s"]
    size_s, unit = time_unit(step_time_s)
    ideal = percent_text(summary["bubble_fraction_ideal"])
    table = plain_table(f"Where the step goes (ideal bubble {ideal})", show_footer=True)
    table.add_column("part", "step")
    table.add_column(unit, f"{step_time_s / size_s:.3f}", justify="right")
    table.add_column("share", "100.0%", justify="right")
    table.add_column("", no_wrap=True)
    for (part, time_s), tenths in zip(parts.items(), shares_in_tenths(parts.values()), strict=True):
        bar = "█" * round(BAR_WIDTH * time_s / step_time_s)
        table.add_row(_words(part), f"{time_s / size_s:.3f}", percent_text(tenths / 1000), bar)
    return table


def shares_in_tenths(values: Iterable[float]) -> list[int]:
    """Return shares in tenths of a percent that add up to exactly 1000.

    Each share is rounded down; those cut most get the tenths that are left (largest remainder).
    """
    numbers = list(values)
    exact = [1000 * number / sum(numbers) for number in numbers]
    tenths = [int(share) for share in exact]
    by_loss = sorted(range(len(exact)), key=lambda index: tenths[index] - exact[index])
    for index in by_loss[: 1000 - sum(tenths)]:
        tenths[index] += 1
    return tenths


def memory_table(summary: Mapping[str, Any]) -> Group:
    """Return the peak memory of every stage by component, and whether it fits."""
    memory = summary["memory_gib"]
    used = [name for name in MEMORY_COLOURS if any(stage[name] for stage in memory["stages"])]
    lines = _merged(memory["stages"], [*used, "total"], memory["capacity"])
    shown = sorted(sorted(lines, key=lambda line: -line.values[-1])[:MOST_STAGES])
    only = f", the fullest {MOST_STAGES} of {len(lines)} lines" if len(lines) > MOST_STAGES else ""
    star = "" if summary["fits"] else ", * over capacity"
    table = plain_table(f"Memory at its peak by stage [GiB]{only}{star}", padding=0)
    headings = (HYPHENATED.get(name, name) for name in used)
    _add_columns(table, "stage", *headings, "total", "")
    for first, last, values, over in shown:
        stages = f"{first}" if first == last else f"{first}-{last}"
        numbers = [f"{value:.1f}" for value in values]
        table.add_row(stages, *numbers, "*" if over else "", style="bold red" if over else "")
    style = "green" if summary["fits"] else "bold red"
    return Group(table, Text(memory_verdict(summary), style=style))


def memory_verdict(summary: Mapping[str, Any]) -> str:
    """Return one sentence: whether the fullest stage fits, and by how much [GiB]."""
    memory = summary["memory_gib"]
    fullest = max(memory["stages"], key=lambda stage: stage["total"])["stage"]
    peak, capacity = memory["peak"], memory["capacity"]
    room = f"{abs(capacity - peak):.1f} GiB {'free' if summary['fits'] else 'too much'}"
    verdict = "Fits" if summary["fits"] else "Does not fit"
    return f"{verdict}: stage {fullest} peaks at {peak:.1f} of {capacity:.1f} GiB, {room}"


def groups_table(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return the process groups: where their ranks sit and what line they share."""
    table = plain_table("Communication groups (line rate of one rank)")
    table.add_column("axes")
    table.add_column("ranks", justify="right")
    table.add_column("per node", justify="right")
    table.add_column("nodes", justify="right")
    table.add_column("rails", justify="right")
    table.add_column("crosses")
    table.add_column("GB/s", justify="right")
    table.add_column("contention", justify="right")
    for group in groups:
        table.add_row(
            Text(group["axis"]),
            f"{group['ranks']:,}",
            f"{group['ranks_per_node']:,}",
            f"{group['nodes']:,}",
            f"{group['rails']:,}",
            Text(group["crosses"]),
            significant(group["line_rate_gb_per_s"]),
            f"{group['contention']:.2f}",
        )
    return table


def _layout(layout: Mapping[str, Any]) -> Iterator[str]:
    """Yield degrees, choices and what is switched on; lists (layers, order) are for the file."""
    for name, value in layout.items():
        if value is True:
            yield _words(name)
        elif isinstance(value, int | str) and value is not False:
            yield f"{_words(name)} {value}"


class _Line(NamedTuple):
    """Neighbouring stages whose memory reads alike."""

    first: int
    last: int
    values: tuple[float, ...]
    over: bool


def _merged(
    stages: Sequence[Mapping[str, Any]], columns: Sequence[str], capacity_gib: float
) -> list[_Line]:
    def reading(stage: Mapping[str, Any]) -> tuple[tuple[float, ...], bool]:
        values = tuple(round(float(stage[column]), 1) for column in columns)
        return values, bool(stage["total"] > capacity_gib)

    runs = [(like, list(run)) for like, run in groupby(stages, key=reading)]
    return [_Line(run[0]["stage"], run[-1]["stage"], *like) for like, run in runs]


def _add_columns(table: Table, first: str, *numeric: str) -> None:
    table.add_column(first)
    for name in numeric:
        table.add_column(name, justify="right")


def _listing(title: str, lines: Iterable[str]) -> Group:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("-", Text(str(line)))
    return Group(Text(title, style="bold"), grid)


def _words(name: str) -> str:
    return name.replace("_", " ")
