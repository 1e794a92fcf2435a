"""``simulator calibrate collectives``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.calibration.collectives import fit_site, quality
from simulator.calibration.files import write_profile
from simulator.calibration.nccl_tests import LogReader
from simulator.calibration.site_profiles import profile_texts
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import DocumentError, SimulatorError
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_tables import BANDS, KINDS
from simulator.report.quantities import percent_text
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.calibration.collectives import Fit, Quality
    from simulator.calibration.nccl_tests import Log
    from simulator.operators import Collective


def calibrate_collectives(
    files: Sequence[Path],
    *,
    cluster: str,
    name: str,
    collective: str | None,
    tabulate: bool,
    out: Path | None,
    profiles: list[Path],
) -> None:
    """Read logs, fit a site, print how well, and write its profiles below ``out``.

    Raises
    ------
    SimulatorError
        If nothing could be read, the measured groups do not fit the cluster, or a profile cannot be
        written.
    """
    base = validate(Cluster, Catalog(tuple(profiles)).document("cluster", cluster))
    log = read_logs(files, collective)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{log.rows:,} rows of {len(log.curves)} curves ({', '.join(_origin(log))})")
    for problem in log.problems:
        console.print(f"  {problem}", markup=False)
    if not log.curves:
        raise SimulatorError("no curve could be read from these files")
    fit = fit_site(log.curves, base, tabulate=tabulate)
    console.print(_quality_table(quality(log.curves, base), quality(log.curves, fit.cluster)))
    for fact in _facts(fit):
        console.print(fact)
    source = f"fit of {', '.join(file.name for file in files)} ({', '.join(_origin(log))})"
    if out is not None:
        for place, text in profile_texts(fit, base, name, source).items():
            write_profile(text, out / place)
            console.print(f"wrote {out / place}", markup=False)
        console.print(f"use them: --profiles {out} with cluster: {name}")


def read_logs(files: Sequence[Path], collective: str | None) -> Log:
    """Return what the logs say, read line by line.

    Raises
    ------
    DocumentError
        If a file cannot be read.
    """
    reader = LogReader(_kind(collective))
    for file in files:
        try:
            with file.open(encoding="utf-8", errors="replace") as lines:
                reader.read(lines, file.name)
        except OSError as error:
            raise DocumentError(f"{file}: cannot be read: {error.strerror}") from error
    return reader.log()


def _kind(name: str | None) -> Collective | None:
    if name is None:
        return None
    if name not in KINDS:
        raise SimulatorError(f"--collective: {name!r} is none of {', '.join(KINDS)}")
    return KINDS[name]


def _origin(log: Log) -> list[str]:
    return [*sorted(log.devices), *sorted(log.libraries)] or ["unnamed hardware"]


def _facts(fit: Fit) -> list[str]:
    facts = []
    if fit.efficiency is not None:
        facts.append(f"network efficiency: {percent_text(fit.efficiency)} of the line rate")
    for scope, launch in fit.launch.items():
        facts.append(f"launch_us of the {scope}: {launch / MICRO:+.3g}")
    return facts


def _quality_table(before: Sequence[Quality], after: Sequence[Quality]) -> Table:
    """Return the median error of each curve by size band: as the profile was, and fitted."""
    table = Table(
        box=SIMPLE_HEAD, title="Median error in %, as profiled -> fitted", title_justify="left"
    )
    table.add_column("curve", no_wrap=True)
    table.add_column("sizes", justify="right")
    for name, _ in BANDS:
        table.add_column(name, justify="right")
    table.add_column("worst", justify="right")
    for old, new in zip(before, after, strict=True):
        cells = [_change(old.median_error, new.median_error, name) for name, _ in BANDS]
        label = str(new.group).replace(", ", "\n")
        table.add_row(label, str(new.sizes), *cells, f"{100 * new.worst:.1f}")
    return table


def _change(old: Mapping[str, float], new: Mapping[str, float], band: str) -> str:
    if band not in new:
        return "-"
    return f"{100 * old[band]:.1f} -> {100 * new[band]:.1f}"
