"""Choose the published runs that the repository carries: benchmarks/published/runs.csv.

    python benchmarks/select_published.py DIR      # with published_runs.csv and amd_runs.csv

The choice depends on the tables alone, never on a prediction. Small sources are taken whole. Of the
layouts study each group of layouts keeps its fastest, its slowest, an even spread between them and
out-of-memory runs; of other large sources an even spread over model, size and speed remains.
The README beside it lists the sources by published_sources.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

TARGET: Final = Path(__file__).parent / "published" / "runs.csv"
README: Final = """# Published training runs

`runs.csv`: {rows} measured runs that others published, for
`simulator validate benchmarks/published/runs.csv`. Each row cites its source in `source_ref`; empty
cells are what a source does not say; `flags` warns of rows that are hard to judge by, `notes` says
how figures were read. Chosen by rule, not by error, by `benchmarks/select_published.py`.

The figures are facts that the sources below report. Their texts, tables and repositories stand
under their own licences, which differ and are not this project's: cite the source, not this table,
and read its licence before you copy more than single figures.

| source | rows | title | where |
|---|--:|---|---|
{lines}
"""
GROUP: Final = ["model", "n_accel", "seq_len", "gbs"]
RANKED: Final = {"aleph_alpha_layouts": (14, 10)}
"""Timed and out-of-memory rows of each group of layouts, by source."""
SPREAD: Final = {
    "vtrain": 60,
    "megatron_bridge": 60,
    "dgxc_benchmarking": 40,
    "llm_foundry": 30,
    "bigscience_bloom": 36,
}
"""Rows kept of sources too large to be taken whole."""


def main() -> None:
    """Write the selection and say what it consists of."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tables", type=Path, metavar="DIR")
    directory = parser.parse_args().tables
    published = pd.read_csv(directory / "published_runs.csv", dtype=str, keep_default_na=False)
    amd = pd.read_csv(directory / "amd_runs.csv", dtype=str, keep_default_na=False)
    amd = amd.reindex(columns=published.columns, fill_value="")
    chosen = pd.concat([selection(published), amd], ignore_index=True)
    TARGET.parent.mkdir(exist_ok=True)
    chosen.to_csv(TARGET, index=False, lineterminator="\n")
    sources = json.loads((directory / "published_sources.json").read_text(encoding="utf-8"))
    text = README.format(rows=len(chosen), lines="\n".join(source_lines(chosen, sources)))
    TARGET.with_name("README.md").write_text(text, encoding="utf-8")
    print(chosen["source"].value_counts().to_string())
    print(f"{len(chosen)} rows in {TARGET}")


def source_lines(runs: pd.DataFrame, sources: dict[str, dict[str, str]]) -> list[str]:
    """Return a line per source: rows, title and where it stands; its first citation if unlisted."""
    lines = []
    for source in runs["source"].unique():
        part = runs[runs["source"] == source]
        known = sources.get(source, {})
        title = known.get("title", source)
        where = known.get("where", part["source_ref"].iloc[0])
        lines.append(f"| {source} | {len(part)} | {title} | {where} |")
    return lines


def selection(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the chosen rows of all sources, in the order of the table."""
    kept = [chosen_of(str(source), part) for source, part in runs.groupby("source", sort=False)]
    return runs.loc[sorted(index for rows in kept for index in rows)]


def chosen_of(source: str, runs: pd.DataFrame) -> list[int]:
    """Return the index of the chosen rows of one source."""
    if source in RANKED:
        timed, failed = RANKED[source]
        groups = [part for _, part in runs.groupby(GROUP, sort=True)]
        return [index for part in groups for index in ranked(part, timed, failed)]
    return spread(runs, SPREAD.get(source, len(runs)))


def ranked(runs: pd.DataFrame, timed: int, failed: int) -> list[int]:
    """Return a group's fastest and slowest row, a spread between, and out-of-memory rows."""
    ran = runs[runs["step_time_s"] != ""]
    by_time = ran.assign(time=ran["step_time_s"].astype(float)).sort_values(["time", "run_id"])
    return [
        *evenly(by_time.index.to_list(), timed),
        *evenly(runs[runs["oom"] == "True"].sort_values("run_id").index.to_list(), failed),
    ]


def spread(runs: pd.DataFrame, most: int) -> list[int]:
    """Return rows spread evenly over model, size, accelerator and speed."""
    speed = pd.to_numeric(runs["tokens_per_s_per_gpu"], errors="coerce").fillna(0.0)
    size = runs["n_accel"].astype(float)
    order = runs.assign(speed=speed, size=size).sort_values(
        ["accelerator", "size", "model", "speed", "run_id"]
    )
    return evenly(order.index.to_list(), most)


def evenly(items: list[int], most: int) -> list[int]:
    """Return at most so many items, first and last among them, evenly spaced."""
    if len(items) <= most:
        return items
    places = np.linspace(0, len(items) - 1, most).round().astype(int)
    return [items[place] for place in places]


if __name__ == "__main__":
    main()
