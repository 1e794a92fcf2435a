"""The tables of a search: the best layouts and what the others lose, the front, the near misses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from simulator.parallel.layout import INNERMOST_FIRST
from simulator.report.listing import plain_table, spaced
from simulator.report.quantities import percent_text, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.table import Table

MOST_REASONS: Final = 3
MOST_OF_THE_FRONT: Final = 12
STANDINGS: Final[Mapping[str, str]] = {
    "best": "best",
    "equal": "equal",
    "near": "near tie",
    "slower": "",
    "faster": "faster",
}


def layout_text(layout: Mapping[str, Any]) -> str:
    """Return a layout in the field's shorthand: ``tp 8 sp, pp 16 x 8, dp 128, mb 1, …``.

    ``pp 16 x 8`` is interleaved 1F1B with 8 chunks per stage. Axes of degree one are left out, and
    the order of the ranks if it is the usual one.
    """
    words = []
    if layout.get("other_size"):
        words.append(f"{layout['accelerators']:,} accelerators")
    if layout["tensor"] > 1:
        words.append(f"tp {layout['tensor']}" + (" sp" if layout["sequence_parallel"] else ""))
    if layout["context"] > 1:
        words.append(f"cp {layout['context']}")
    if layout["pipeline"] > 1:
        chunks = layout["virtual_stages"]
        how = f"x {chunks}" if chunks > 1 else layout["schedule"]
        words.append(f"pp {layout['pipeline']} {how}")
    words.append(f"dp {layout['data']}" + (" ZeRO-1" if layout["sharding"] == "optimizer" else ""))
    words.append(f"mb {layout['micro_batch']}")
    if layout["recompute"] != "none":
        every = f"/{layout['recompute_every']}" if layout["recompute_every"] > 1 else ""
        words.append(f"recompute {layout['recompute']}{every}")
    moved = [axis for axis in layout["order"].split() if layout[axis] > 1]
    if moved != [axis for axis in INNERMOST_FIRST if layout[axis] > 1]:
        words.append(f"order {' '.join(moved)}")
    return ", ".join(words)


def search_tables(summary: Mapping[str, Any]) -> list[RenderableType]:
    """Return everything that a search prints, top to bottom."""
    parts: list[RenderableType] = [_headline(summary), _best(summary)]
    if summary["near_misses"]:
        parts.append(_near_misses(summary))
    parts.append(_front(summary))
    parts += [Text(note) for note in notes_of(summary)]
    return spaced(parts)


def headline(summary: Mapping[str, Any]) -> str:
    """Return the best layout in one line."""
    best = summary["best"][0]
    return f"{summary['scenario']}: {time_text(best['step_time_s'])} with {layout_text(best)}"


def notes_of(summary: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know to read the ranking."""
    near, best = summary["near_ties"] - 1, summary["best"][0]
    within = f"within {percent_text(summary['near_tie'])} of the fastest"
    if near == 0:
        return [f"No other layout is {within}.", *summary["notes"]]
    told = (
        f"{near:,} other layouts are {within}: near ties, since the model is not that exact."
        if near > 1
        else f"One other layout is {within}: a near tie, since the model is not that exact."
    )
    roomy = summary["roomiest_near_tie"]
    if roomy["peak_memory_gib"] < best["peak_memory_gib"]:
        told += (
            f" Of these, {layout_text(roomy)} leaves the most memory: "
            f"{roomy['memory_headroom_gib']:.1f} GiB."
        )
    return [told, *summary["notes"]]


def reasons_text(place: Mapping[str, Any]) -> str:
    """Return what a layout loses against the best: ``+3.1% bubble, -0.4% exposed tensor``."""
    parts = list(place["loses"].items())[:MOST_REASONS]
    return ", ".join(f"{100 * share:+.1f}% {name.replace('_', ' ')}" for name, share in parts)


def _headline(summary: Mapping[str, Any]) -> Text:
    counts = (
        f"{summary['layouts']:,} legal layouts, {summary['fit']:,} fit in "
        f"{summary['capacity_gib']:.1f} GiB, {summary['played']:,} played"
    )
    return Text.assemble((headline(summary), "bold"), "\n", counts)


def _best(summary: Mapping[str, Any]) -> Table:
    table = plain_table(f"Best by {summary['by'].replace('_', ' ')}")
    priced = summary["by"] == "cost"
    cost = (f"{summary['currency']}/step",) if priced else ()
    for name in ("", "step", "slower", "MFU", "memory", *cost):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("layout, and against the best", overflow="fold")
    first = summary["best"][0]["step_time_s"]
    for number, place in enumerate(summary["best"], start=1):
        slower = place["step_time_s"] / first - 1
        told = Text(layout_text(place))
        if place["alike"]:
            told.append(f" (and {place['alike']} alike)", style="dim")
        why = [STANDINGS[place["standing"]], reasons_text(place)]
        if number > 1 and any(why):
            told.append("\n" + ": ".join(filter(None, why)), style="dim")
        table.add_row(
            str(number),
            time_text(place["step_time_s"]),
            f"{100 * slower:+.1f}%" if number > 1 else "",
            percent_text(place["mfu"]["palm"]),
            f"{place['peak_memory_gib']:.1f} GiB",
            *((f"{place['cost_per_step']:.2f}",) if priced else ()),
            told,
        )
    return table


def _near_misses(summary: Mapping[str, Any]) -> Table:
    table = plain_table("Faster, but too large")
    for name in ("step", "faster"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("layout", overflow="fold")
    first = summary["best"][0]["step_time_s"]
    for miss in summary["near_misses"]:
        told = Text(layout_text(miss))
        short = -miss["memory_headroom_gib"]
        told.append(f"\ndoes not fit by {short:.1f} GiB", style="dim")
        faster = 1 - miss["step_time_s"] / first
        table.add_row(time_text(miss["step_time_s"]), percent_text(faster), told)
    return table


def _front(summary: Mapping[str, Any]) -> Table:
    front = summary["front"]
    shown = front[:MOST_OF_THE_FRONT]
    more = f", the fastest {len(shown)} of {len(front)}" if len(front) > len(shown) else ""
    table = plain_table(f"Pareto front of time and memory{more}")
    for name in ("step", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("layout", overflow="fold")
    for place in shown:
        table.add_row(
            time_text(place["step_time_s"]),
            f"{place['peak_memory_gib']:.1f} GiB",
            layout_text(place),
        )
    return table
