"""Show that vTrain's rows of one node are sums of traced layers, and what each layer took.

    python benchmarks/vtrain_sums.py RUNS.csv

``RUNS.csv`` is a table of published runs as ``simulator validate`` reads it, with every row of one
node of vTrain (arXiv 2312.12391, data/ground_truth_single.csv). Printed are how far rows agree that
should differ by one and the same time, what replicas add, the time of a layer by trace (hidden
size, tensor ranks, micro-batch), what a step takes beside its micro-batches, and the error of a
prediction taken by trace instead of by row.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.units import GIB, MICRO, MILLI, TERA
from simulator.validation.errors import with_errors
from simulator.validation.predictions import predict_runs
from simulator.validation.tables import read_table

ONE_NODE: Final = "vtrain-single"
NUMBERS: Final = ("n_layers", "hidden", "tp", "pp", "dp", "mbs", "gbs", "seq_len")
STAGES: Final = ["n_layers", "hidden", "tp", "pp"]
"""Columns that decide what gradients a rank holds."""
TRACE: Final = ["hidden", "tp", "mbs"]
"""Columns that decide which traced layer a row is made of."""
VOCABULARY: Final = 50257
GRADIENT_BYTES: Final = 2
FEWEST_COUNTS: Final = 3
"""Numbers of micro-batches from which a line is drawn through step times."""


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, metavar="RUNS.csv")
    table = read_table(parser.parse_args().table)
    table = table[table["run_id"].str.startswith(ONE_NODE)]
    if table.empty:
        parser.error(f"the table has no rows {ONE_NODE}…")
    rows = as_numbers(table)
    console = Console(width=110)
    print_replicas(console, replica_pairs(rows))
    print_layers(console, layer_times(rows))
    predicted = with_errors(predict_runs(table)).set_index("run_id")
    rows = rows.join(predicted[["error", "optimizer_s"]], on="run_id")
    print_remainders(console, rows)
    print_errors(console, rows)


def as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows with their layout as integers, their time [s], and micro-batches counted."""
    rows = table.copy()
    for name in NUMBERS:
        rows[name] = rows[name].astype(float).astype(int)
    rows["time"] = rows["step_time_s"].astype(float)
    rows["micro_batches"] = rows["gbs"] // (rows["dp"] * rows["mbs"])
    return rows


def tuples(frame: pd.DataFrame) -> list[Any]:
    """Return the rows of a frame, a value by column as an attribute."""
    return list(frame.itertuples())


def replica_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each two rows that differ in replicas alone, and their difference in time [s]."""
    found = []
    for key, alike in rows.groupby([*STAGES, "mbs", "micro_batches"]):
        for few, many in combinations(tuples(alike.sort_values("dp")), 2):
            found.append((*key[:4], few.dp, many.dp, many.time - few.time, few.time))
    return pd.DataFrame(found, columns=[*STAGES, "few", "many", "difference", "time"])


def print_replicas(console: Console, pairs: pd.DataFrame) -> None:
    """Print how far equal differences agree, and what replicas add above 1 GiB of gradients."""
    groups = pairs.groupby([*STAGES, "few", "many"])
    spread = groups["difference"].agg(np.ptp)[groups.size() > 1] / MICRO
    several = groups.filter(lambda group: len(group) > 1)
    console.print(
        f"{len(several)} pairs of rows in {len(spread)} groups, steps of "
        f"{several['time'].min() / MILLI:.0f} ms to {several['time'].max():.2g} s: "
        f"within a group the times of more replicas differ by {spread.median():.1f} us in the "
        f"median, {spread.max():.0f} us at most"
    )
    table = Table(*STAGES, "GiB", "replicas", "more time, ms", box=SIMPLE_HEAD)
    for one in tuples(groups["difference"].median().reset_index()):
        stages = one.n_layers, one.hidden, one.tp, one.pp
        n_bytes = GRADIENT_BYTES * parameters(*stages)
        if n_bytes > GIB:
            cells = (*map(str, stages), f"{n_bytes / GIB:.2f}", f"{one.few} to {one.many}")
            table.add_row(*cells, f"{one.difference / MILLI:+.3f}")
    table.title = "What replicas add above 1 GiB of fp16 gradients"
    console.print(table)


def parameters(layers: int, hidden: int, tensor: int, pipeline: int) -> float:
    """Return the parameters of a rank of the first stage: its matrices and the embedding."""
    return (12 * hidden**2 * layers / pipeline + VOCABULARY * hidden) / tensor


def layer_times(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the time of a layer [s], forward and backward of a micro-batch, by trace.

    From each two rows that differ in the number of layers alone: a pipeline takes
    ``(m + p - 1) L / p`` of them one after another. Rows with the fewest replicas are taken; where
    these are several, what the reduction of a layer's gradients takes is in the time, too.
    """
    found = []
    for _, alike in rows.groupby([*TRACE, "seq_len", "dp", "pp", "micro_batches"]):
        for few, many in combinations(tuples(alike.sort_values("n_layers")), 2):
            passes = few.micro_batches + few.pp - 1
            time = (many.time - few.time) / ((many.n_layers - few.n_layers) / few.pp * passes)
            found.append((few.hidden, few.tp, few.mbs, few.seq_len, few.dp, time))
    times = pd.DataFrame(found, columns=[*TRACE, "seq_len", "dp", "time"])
    fewest = times[times["dp"] == times.groupby(TRACE)["dp"].transform("min")]
    return fewest.groupby([*TRACE, "seq_len", "dp"])["time"].median().reset_index()


def print_layers(console: Console, times: pd.DataFrame) -> None:
    """Print the time of each traced layer, and its rate were it recomputed."""
    table = Table(*TRACE, "dp", "layer, ms", "TFLOP/s if recomputed", box=SIMPLE_HEAD)
    for row in tuples(times):
        tokens = row.mbs * row.seq_len
        forward = 24 * tokens * row.hidden**2 * (1 + row.seq_len / (6 * row.hidden)) / row.tp
        rate = 4 * forward / row.time / TERA
        cells = (row.hidden, row.tp, row.mbs, row.dp, f"{row.time / MILLI:.2f}", f"{rate:.0f}")
        table.add_row(*map(str, cells))
    table.title = "Time of a layer, forward and backward of a micro-batch"
    console.print(table)


def print_remainders(console: Console, rows: pd.DataFrame) -> None:
    """Print what steps take beyond their micro-batches and the predicted update, by hidden size.

    One stage and one replica, so that nothing else belongs to a step alone; three numbers of
    micro-batches and more.
    """
    alone = rows[(rows["pp"] == 1) & (rows["dp"] == 1)]
    for hidden, group in alone.groupby("hidden"):
        left = [
            np.polyfit(steps["micro_batches"], steps["time"] - steps["optimizer_s"], 1)[1] / MILLI
            for _, steps in group.groupby(["n_layers", "tp", "mbs"])
            if steps["micro_batches"].nunique() >= FEWEST_COUNTS
        ]
        span = f"{min(left):.2f} to {max(left):.2f} ms" if left else "-"
        console.print(
            f"hidden size {hidden}: beyond micro-batches and update {len(left)} jobs take {span}"
        )


def print_errors(console: Console, rows: pd.DataFrame) -> None:
    """Print the mean absolute error by hidden size, by row and by trace."""
    for hidden, group in rows.groupby("hidden"):
        errors = group["error"].abs()
        by_trace = errors.groupby([group[name] for name in TRACE]).mean()
        console.print(
            f"hidden size {hidden}: {len(group)} rows of {len(by_trace)} traces, mean error "
            f"{100 * errors.mean():.1f} % by row, {100 * by_trace.mean():.1f} % by trace"
        )


if __name__ == "__main__":
    main()
