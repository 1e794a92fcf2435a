"""A step's summary as rich renderables: what the command line shows.

Every table reads at 80 columns and without colour, which only repeats what the words say.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Group
from rich.text import Text

from simulator import units
from simulator.report.listing import named_lines, plain_table, sentences, spaced
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
    from rich.table import Table

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

LEAST_USE: Final = 0.0005
"""Use of a link that reads as nothing."""
ROUNDING: Final = 1e-9
"""Part of a step that is nothing but the rounding of sums, relative."""

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
        parts += [groups_table(summary["groups"]), speed_table(summary["groups"])]
    if summary["transfers"]:
        parts.append(contention_table(summary))
    if "islands" in summary:
        parts.append(islands_table(summary["islands"], summary["sample"]))
    if "perturbations" in summary:
        parts.append(perturbation_table(summary))
    if "variation" in summary:
        parts += variation_tables(summary["variation"])
    notes = [*summary["assumptions"], *summary.get("variation", {}).get("assumptions", [])]
    if notes:
        parts.append(sentences("Assumptions", notes))
    return spaced(parts)


def headline(summary: Mapping[str, Any]) -> Text:
    """Return one sentence: step time, tokens/s or images/s, and MFU; what samples drew, too."""
    convention = headline_convention(summary)
    mfu = percent_text(summary["mfu"][convention])
    facts = (
        f"one step takes {time_text(summary['step_time_s'])}",
        f"{count_text(summary['tokens_per_s'])} {summary['sample']}s/s",
        f"MFU {mfu} ({convention})",
        *_islands_facts(summary.get("islands")),
    )
    drawn = drawn_headline(summary["variation"]) if "variation" in summary else ""
    return Text(f"{summary['scenario']}: {', '.join(facts)}{drawn}", style="bold")


def headline_convention(summary: Mapping[str, Any]) -> str:
    """Return the convention of model FLOPs in headlines, the first.

    For transformers that is ``palm``, which MFU was defined with (PaLM, appendix B).
    """
    return str(next(iter(summary["mfu"])))


def description(summary: Mapping[str, Any]) -> Table:
    """Return what was simulated: model, accelerators, layout, batch, schedule, software."""
    batch, sample = summary["batch"], summary["sample"]
    parameters = count_text(summary["parameters"]).replace("G", "B")  # the field counts billions
    lines = {
        "model": f"{summary['model']}, {parameters} parameters, {summary['precision']}",
        "cluster": f"{summary['cluster']}, {summary['accelerators']:,} x {summary['accelerator']}",
        "layout": ", ".join(_layout(summary["layout"])),
        "batch": f"{_batch_text(batch, sample)}, "
        f"{batch['micro_batches']:,} micro-batches of {batch['micro_batch']} per pipeline",
        "schedule": f"{summary['schedule']}, recomputation {summary['recompute']['mode']}",
        "software": f"{summary['software']}",
        "network": ", ".join(_network(summary["network"])),
        "engine": f"{summary['engine']}",
        "speed": f"{count_text(summary['tokens_per_step'])} {sample}s per step, "
        f"{significant(summary['tokens_per_s_per_accelerator'])} {sample}s/s per accelerator",
    }
    if nodes := _nodes(summary["placement"]):
        lines["placement"] = nodes
    return named_lines(lines)


def throughput_table(summary: Mapping[str, Any]) -> Table:
    """Return model FLOPs, FLOP/s, MFU and HFU by convention."""
    peak = f"dense peak {significant(summary['peak_tflop_per_s'])} TFLOP/s"
    table = plain_table(f"Utilisation ({peak} per accelerator)")
    _add_columns(
        table, "convention", f"model TFLOP/{summary['sample']}", "TFLOP/s/accelerator", "MFU", "HFU"
    )
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
    step_time_s = summary["step_time_s"]
    least_s = ROUNDING * step_time_s
    parts = {part: time_s for part, time_s in summary["breakdown_s"].items() if time_s > least_s}
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
    """Return the process groups: how many ranks each has, and where they sit."""
    table = plain_table("Communication groups: where their ranks sit")
    _add_columns(table, "axes", "ranks", "per node", "nodes", "rails")
    table.add_column("crosses", overflow="fold")
    for group in groups:
        counts = (group[name] for name in ("ranks", "ranks_per_node", "nodes", "rails"))
        table.add_row(
            Text(group["axis"]), *(f"{count:,}" for count in counts), Text(group["crosses"])
        )
    return table


def speed_table(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return the process groups: how fast their largest message is, and their latency."""
    table = plain_table("How fast they are there (largest message; latency of 8 bytes)", padding=0)
    _add_columns(table, "axes", "collective")
    table.columns[1].justify = "left"
    for name in ("MiB", "time", "bus\nGB/s", "line rate\nGB/s", "contention", "latency"):
        table.add_column(name, justify="right")
    for group in groups:
        table.add_row(
            Text(group["axis"]),
            *_speed(group),
            significant(group["line_rate_gb_per_s"]),
            f"{group['contention']:.2f}",
            _micro(group["latency_us"]),
        )
    return table


def contention_table(summary: Mapping[str, Any]) -> Group:
    """Return by kind of transfer what sharing costs it, and how much of each link is used."""
    table = plain_table("Contention (time of one rank's transfers, mean over ranks)")
    _add_columns(table, "kind", "transfers", "alone, s", "shared, s", "slow-down")
    for kind, told in summary["transfers"].items():
        table.add_row(
            _words(kind),
            f"{told['count']:,}",
            f"{told['alone_s']:.3f}",
            f"{told['shared_s']:.3f}",
            f"{told['slowdown']:.3f}",
        )
    links = plain_table("Links (use of their capacity over the step)")
    _add_columns(links, "link", "mean over stages", "highest", "stage")
    for row in summary["links"]:
        if row["highest_use"] < LEAST_USE:
            continue
        use = (percent_text(row["mean_use"]), percent_text(row["highest_use"]))
        links.add_row(_words(row["link"]), *use, str(row["stage"]))
    return Group(table, Text(), links)


def _network(network: Mapping[str, Any]) -> Iterator[str]:
    """Yield what transfers meet on the network."""
    shared = network["sharing"] == "fair"
    yield "transfers share links fairly" if shared else "each transfer has its links to itself"
    if network["background_share"]:
        yield f"{percent_text(network['background_share'])} taken by other jobs"
    if network["routing"] == "ecmp":
        pairs = network["flows_per_pair"]
        yield f"ECMP routing, flows per pair {pairs}, seed {network['seed']}"
    else:
        yield f"{network['routing']} routing"


def _speed(group: Mapping[str, Any]) -> tuple[str, ...]:
    """Return collective, size, time and bus bandwidth; dashes for a group that sends nothing."""
    if group["collective"] is None:
        return ("-",) * 4
    return (
        group["collective"],
        significant(group["message_mib"]),
        _micro(group["message_time_us"]),
        significant(group["bus_bandwidth_gb_per_s"]),
    )


def _micro(time_us: float | None) -> str:
    return "-" if time_us is None else time_text(time_us * units.MICRO)


def _nodes(placement: Mapping[str, Any]) -> str:
    """Return which nodes the job got; nothing if they are simply the first."""
    seed, lost = placement["seed"], placement["lost_nodes"]
    if seed is None and not lost:
        return ""
    drawn = f" (seed {seed})" if seed is not None else ""
    return f"{placement['nodes']} nodes{drawn}" + (f", {len(lost):,} lost" if lost else "")


def islands_table(islands: Mapping[str, Any], sample: str) -> Group:
    """Return training across islands: what it exchanges, what that costs, what it would need.

    Parameters
    ----------
    islands
        Their part of a summary.
    sample
        What the model counts its work by.
    """
    needs = ", ".join(
        f"{percent} %: {'none suffices' if gbit is None else f'{significant(gbit)} Gbit/s'}"
        for percent, gbit in islands["required_gbit_per_s"].items()
    )
    memory = f"{islands['memory_peak_gib']:.1f} GiB at its peak with the outer optimizer"
    lines = {
        "islands": f"{islands['count']:,}, {islands['accelerators']:,} accelerators together",
        "link": f"{significant(islands['link_gbit_per_s'])} Gbit/s, "
        f"{significant(islands['latency_ms'])} ms",
        "exchange": f"{_words(islands['method'])}, "
        f"{significant(islands['bits_per_parameter'])} bits per parameter",
        "period": f"{islands['inner_steps']:,} steps, fragments {islands['fragments']:,}, "
        f"overlap {islands['overlap_steps']:,}",
        "sent": f"{significant(islands['exchanged_gb_per_step'])} GB per step and island",
        "step": f"{time_text(islands['mean_step_time_s'])} in the mean, "
        f"{time_text(islands['inner_step_time_s'])} without exchange",
        "utilisation": f"{percent_text(islands['compute_utilisation'])}, "
        f"{count_text(islands['tokens_per_s'])} {sample}s/s on all islands",
        "outer step": f"{time_text(islands['outer_step_s'])} per period",
        "memory": memory if islands["fits"] else f"{memory}: does not fit",
        "link needed": needs,
    }
    if not islands["outer_step_s"]:
        del lines["outer step"], lines["memory"]
    return Group(Text("Across islands", style="bold"), named_lines(lines))


def _batch_text(batch: Mapping[str, Any], sample: str) -> str:
    if sample == "image":
        return f"{batch['global_batch']:,} images"
    return f"{batch['global_batch']:,} sequences of {batch['sequence_length']:,} {sample}s"


def _islands_facts(islands: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the mean step with exchanges, which is what training across islands takes."""
    if islands is None:
        return ()
    time, used = islands["mean_step_time_s"], percent_text(islands["compute_utilisation"])
    across = f"{time_text(time)} per step across {islands['count']:,} islands"
    return (f"all this on one island; {across} ({used} utilisation)",)


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


def _words(name: str) -> str:
    return name.replace("_", " ")
