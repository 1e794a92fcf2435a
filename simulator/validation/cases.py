"""A row of a table of measured runs as a scenario.

The columns are those of the published tables; an empty cell is what the source leaves unsaid. It
takes its source's default (`simulator.validation.sources`) and the prediction says so; what cannot
be expressed is refused by name, never guessed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.parallel.blocks import Recomputation, Recompute
from simulator.precision import Precision
from simulator.scenario.checks import findings
from simulator.scenario.scenario import Scenario
from simulator.schedule.pipelines import ScheduleName
from simulator.validation.cells import Cells, InvalidError, UnsupportedError
from simulator.validation.layouts import batch_of, layout_of
from simulator.validation.models import model_of
from simulator.validation.profiles import cluster_of
from simulator.validation.sources import ALTERED, CLUSTERS, Source, source_of
from simulator.validation.stacks import software_of, stack_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.catalog import Catalog
    from simulator.validation.cells import Row

TUNED: Final[Mapping[str, tuple[str, ...]]] = {"mbs": ("1", "2", "4", "8")}
"""What is tried for a column that the authors tuned but did not print."""
ALIASES: Final[Mapping[str, str]] = {"B200": "B200-SXM", "GB200": "GB200-NVL72"}
"""Accelerators that some tables call otherwise."""
REFUSED_FLAGS: Final[Mapping[str, str]] = {
    "finetune": "fine-tuning of some of the weights",
    "arch_hybrid": "a hybrid architecture that the table does not give",
    "arch_unlisted": "an architecture that the table does not give",
    "layout_unknown": "a layout that the source does not give",
    "layout_partial": "a layout that the source gives in part",
}
"""Flags of rows that describe something else than a whole pre-training step."""
SHARDED: Final = "sharded parameters or gradients (ZeRO-2, ZeRO-3, FSDP)"


@dataclass(frozen=True, slots=True)
class Case:
    """A row as a scenario."""

    scenario: Scenario
    stack: str
    cluster: str
    assumed: str
    """What was taken for empty cells, ``column=value`` joined by semicolons."""
    flushes: int = 1
    """Times that the pipeline is drained per step."""
    allocated_memory: bool = False
    """The peak counts what the allocator holds, without context, libraries and fragmentation."""
    share: float = 1.0
    """Sequences of the row's batch over those simulated: below 1 for a ragged last micro-batch."""


def cases_of(row: Row, catalog: Catalog) -> list[Case]:
    """Return the scenarios that a row may mean: several where a tuned column was not printed.

    Raises
    ------
    UnsupportedError
        If what the row describes is not simulated.
    InvalidError
        If the row contradicts itself or lacks what has no default.
    """
    source = source_of(row["source"])
    open_columns = [column for column in source.tuned if not row.get(column)]
    if not open_columns:
        return [case_of(row, source, catalog)]
    column = open_columns[0]
    cases = []
    for value in TUNED[column]:
        try:
            case = case_of({**row, column: value}, source, catalog)
        except (UnsupportedError, InvalidError):
            continue
        note = f"{column}={value} (best of {', '.join(TUNED[column])})"
        cases.append(
            dataclasses.replace(case, assumed="; ".join(filter(None, (case.assumed, note))))
        )
    return cases or [case_of(row, source, catalog)]


def case_of(row: Row, source: Source, catalog: Catalog) -> Case:
    """Return the scenario of a row whose tuned columns are filled in.

    Raises
    ------
    UnsupportedError, InvalidError
        As `cases_of`.
    """
    _refuse(row)
    cells = Cells(row, source)
    cluster_name = _cluster_name(row, source)
    cluster = cluster_of(cluster_name, catalog)
    layout = layout_of(cells)
    batch, share = batch_of(cells, layout)
    software = software_of(cells, cluster.accelerator, catalog)
    scenario = Scenario(
        name=row["run_id"],
        model=model_of(cells),
        cluster=cluster,
        accelerators=cells.count("n_accel"),
        software=software,
        layout=layout,
        batch=batch,
        schedule=ScheduleName.INTERLEAVED_1F1B
        if layout.virtual_stages > 1
        else ScheduleName.ONE_F_ONE_B,
        precision=_precision(cells),
        recompute=dataclasses.replace(_recompute(cells), head=source.head_recomputed),
    )
    broken = findings(scenario)
    if broken:
        raise InvalidError("; ".join(f"{where}: {what}" for where, what in broken))
    flushes = _flushes(cells, scenario)
    assumed = "; ".join(f"{column}={value}" for column, value in sorted(cells.assumed.items()))
    return Case(
        scenario=scenario,
        stack=stack_of(row, source),
        cluster=cluster_name,
        assumed=assumed,
        flushes=flushes,
        allocated_memory=source.allocated_memory,
        share=share,
    )


def _flushes(cells: Cells, scenario: Scenario) -> int:
    """Return how often the run drains its pipeline per step, and note it if not once.

    The layouts study's FlashAttention-2 runs of its 13B model on two stages take 44.1, 47.4, 55.6
    and 72.8 s with 64, 32, 16 and 8 micro-batches: (m + 8) stage times, as if each step were eight
    pipelines one after another. Its FlashAttention-1 runs of the same layouts take m + 1.
    """
    run = f"{scenario.model.name} on {scenario.accelerators}, {cells.text('attention_kernel')}"
    counts = [n for start, n in cells.source.flushes.items() if run.startswith(start)]
    if not counts or scenario.layout.pipeline == 1:
        return 1
    flushes = min(counts[0], scenario.micro_batches)
    cells.assumed["pipeline flushes"] = str(flushes)
    return flushes


def _refuse(row: Row) -> None:
    """Raise for rows that describe something else than a dense pre-training step."""
    if "ablation" in row.get("flags", "") and ALTERED in row.get("flags", ""):
        raise UnsupportedError("a stack between two others, with some of MegaScale's changes")
    for flag in row.get("flags", "").replace(",", " ").split():
        if flag in REFUSED_FLAGS:
            raise UnsupportedError(REFUSED_FLAGS[flag])
    if row.get("notes", "").startswith("JAX (Paxml), FSDP"):
        raise UnsupportedError(SHARDED)
    if "lora" in row.get("model", "").lower():
        raise UnsupportedError(REFUSED_FLAGS["finetune"])
    if row.get("n_experts") not in ("", None, "0", "0.0", "1", "1.0"):
        raise UnsupportedError("mixture of experts")
    sharding, fsdp = row.get("optimizer_sharding", ""), row.get("fsdp", "")
    if "ZeRO-2" in sharding or "ZeRO-3" in sharding:
        raise UnsupportedError(SHARDED)
    if fsdp not in ("", "0", "0.0", "1", "1.0", "no") and row["source"] != "llama3_paper":
        raise UnsupportedError(SHARDED)


def _cluster_name(row: Row, source: Source) -> str:
    accelerator = ALIASES.get(row["accelerator"], row["accelerator"])
    name = source.clusters.get(accelerator) or CLUSTERS.get(accelerator)
    if name is None:
        raise UnsupportedError(f"no profile of the accelerator {accelerator}")
    return name


def _precision(cells: Cells) -> Precision:
    text = cells.needed("precision").lower().split()[0]
    try:
        return Precision(text)
    except ValueError:
        raise UnsupportedError(f"precision {text}") from None


def _recompute(cells: Cells) -> Recompute:
    text = (cells.text("recompute") or "none").partition(" (")[0]
    if text in ("none", "full", "selective"):
        return Recompute(mode=Recomputation(text))
    if text == "selective layer":
        return Recompute(mode=Recomputation.FULL, every=2)
    raise UnsupportedError(f"recomputation {text!r}")
