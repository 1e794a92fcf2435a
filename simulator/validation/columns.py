"""Columns of a table of predictions, one row per measured run, and the flags that rows carry."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from simulator.metrics.breakdown import NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run_id": "name of the row",
        "source": "who published it",
        "model": "as the source calls it",
        "accelerator": "as the table calls it",
        "n_accel": "accelerators of the job",
        "status": "ok, unsupported or invalid",
        "reason": "why a row has no prediction",
        "assumed": "what stands for empty cells, '; ' between the parts",
        "stack": "software profile",
        "cluster": "cluster profile",
        "step_time_s": "predicted [s]",
        "tokens_per_s_per_gpu": "predicted [1/s]",
        "peak_memory_gib": "predicted, fullest accelerator [GiB]",
        "fits": "whether that is within the capacity",
        "capacity_gib": "memory that a process can allocate there [GiB]",
        "measured_step_time_s": "[s]",
        "measured_tokens_per_s_per_gpu": "[1/s]",
        "measured_memory_gib": "[GiB]",
        "measured_oom": "whether the run ended out of memory; empty if unknown",
        "flags": "warnings about the row, ',' between them",
        "group": "rows whose layouts compete: one source, model, size, sequence length and batch",
        "split": "calibration (fitted a profile that predicts it) or validation",
    }
)
"""Columns that every table of predictions has."""

LAYOUT: Final = (
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "dp",
    "mbs",
    "gbs",
    "seq_len",
    "recompute",
    "attention_kernel",
    "sequence_parallel",
)
"""Columns that make a layout."""

GROUPING: Final = (
    *("source", "model", "accelerator", "n_accel", "precision", "stack", "cluster", "group"),
    *LAYOUT,
)
"""Columns by which rows may be grouped."""

ABSENT: Final = frozenset({"exposed_expert", "exposed_offload"})
"""Parts of a step that no predicted run has: mixtures and offloading are refused."""
PARTS: Final = tuple(name for name in NAMES if name not in ABSENT)
"""Parts of the step that the predictions list."""
BREAKDOWN: Final = tuple(f"{name}_s" for name in PARTS)
"""Their columns [s]."""

SPLITS: Final = ("validation", "calibration")

FLAWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "config_mismatch": "what was run and what is described differ",
        "layout_unknown": "the source does not give the layout",
        "layout_partial": "the source gives part of the layout",
        "layout_from_memory": "the layout was not checked against the source",
        "minibs_override": "the log's batch differs from the configuration's",
        "example_log": "one line of an example, not a measurement",
        "expected_performance": "a target, not a measurement",
        "end_to_end_average": "an average over a whole training run, with its interruptions",
        "CHK_layout_product": "the degrees do not multiply to the accelerators",
        "precision_ambiguous": "two configurations match the log",
    }
)
"""Flags of rows that no simulator can be judged by, and why. They are counted, apart."""

NOT_RUN: Final = "memory_analytic_not_measured"
"""Flag of rows whose memory was calculated: neither a measurement nor a run that fitted."""


def present(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of the columns that a table has: not every table knows every degree."""
    return [column for column in columns if column in frame.columns]
