"""Write docs/validation.md, docs/images/validation.png and the errors that CI holds us to.

    python benchmarks/write_validation.py                 # the curated runs, benchmarks/published
    python benchmarks/write_validation.py --tables DIR    # all tables that lie in a directory
    python benchmarks/write_validation.py --record        # only benchmarks/published/errors.json

A directory may hold published_runs.csv, amd_runs.csv, collectives_measured.csv and h200/ (kernels
and steps on one accelerator). The words between the tables stand in benchmarks/validation.md.jinja.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from simulator.report.palette import write_figure
from simulator.report.validation_document import document_parts, error_markdown
from simulator.report.validation_plot import validation_figure
from simulator.validation.collectives import part_summary
from simulator.validation.errors import operator_errors, step_errors, with_errors
from simulator.validation.predictions import (
    predict_collectives,
    predict_operators,
    predict_runs,
    predict_steps,
)
from simulator.validation.ranks import ranked_layouts
from simulator.validation.statistics import summary
from simulator.validation.tables import read_table

HERE: Final = Path(__file__).parent
DOCS: Final = HERE.parent / "docs"
CURATED: Final = HERE / "published"
TEMPLATE: Final = "validation.md.jinja"
RUNS: Final = ("runs.csv", "published_runs.csv", "amd_runs.csv")
"""Tables of runs, wherever they lie in the directory."""
KERNELS: Final = {
    "gemm.csv": ["dtype", "pass"],
    "attention.csv": ["backend", "pass"],
    "grouped_gemm.csv": ["skew"],
    "pointwise.csv": ["op"],
}
"""Columns that name an operator, by table of timings."""
KERNEL_PART: Final = "h200-sxm"


def main() -> None:
    """Predict every row, and write the page and its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=Path, default=CURATED, metavar="DIR")
    parser.add_argument("--record", action="store_true", help="only record the curated errors")
    arguments = parser.parse_args()
    if arguments.record:
        record()
        return
    directory: Path = arguments.tables
    found = [directory / name for name in RUNS if (directory / name).is_file()]
    if not found:
        parser.error(f"{directory} holds none of {', '.join(RUNS)}")
    tables = [predict_runs(read_table(path)) for path in found]
    predictions = pd.concat(tables, ignore_index=True)
    compared = with_errors(predictions)
    figures = summary(predictions)
    figure = validation_figure(compared, ranked_layouts(compared), figures)
    parts = {**document_parts(figures), **more_tables(directory), "tables": named(found)}
    (DOCS / "images").mkdir(exist_ok=True)
    write_figure(figure, DOCS / "images" / "validation.png")
    (DOCS / "validation.md").write_text(page(parts), encoding="utf-8")
    print(parts["headline"])


def record() -> None:
    """Write the mean absolute error of each curated source, in percent; CI fails above them."""
    compared = with_errors(predict_runs(read_table(CURATED / "runs.csv")))
    groups = compared["source"] + " " + compared["split"]
    errors = 100 * compared["error"].abs().groupby(groups).mean().dropna()
    known = errors.round(2).to_dict()
    (CURATED / "errors.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def more_tables(directory: Path) -> dict[str, str]:
    """Return the tables of collectives, operators and steps, empty where there is no data."""
    messages = directory / "collectives_measured.csv"
    kernels = directory / "h200"
    single = kernels / "steps_a.csv"
    timings = [kernels / name for name in KERNELS if (kernels / name).is_file()]
    return {
        "collectives": collective_table(messages) if messages.is_file() else "",
        "operators": operator_table(timings) if timings else "",
        "steps": step_table(single) if single.is_file() else "",
    }


def collective_table(path: Path) -> str:
    """Return errors of collectives by part, scope and size band."""
    return error_markdown(part_summary(predict_collectives(read_table(path))))


def operator_table(paths: list[Path]) -> str:
    """Return errors of the kernels of one part by operator and its variant."""
    return error_markdown(pd.concat([kernel_errors(path) for path in paths], ignore_index=True))


def kernel_errors(path: Path) -> pd.DataFrame:
    """Return errors of one table of kernels; its variants in one column."""
    frame = predict_operators(read_table(path), KERNEL_PART)
    variants = frame[KERNELS[path.name]].astype(str).agg(" ".join, axis=1)
    groups = pd.DataFrame({"operator": path.stem.replace("_", " "), "variant": variants})
    return operator_errors(frame["time_us"], frame["measured_time_us"], groups, frame["n_flop"])


def step_table(path: Path) -> str:
    """Return errors of step time and peak memory of steps on one accelerator."""
    return error_markdown(step_errors(predict_steps(read_table(path))).drop(columns="rows"))


def named(paths: list[Path]) -> str:
    """Return the names of tables as words of a sentence."""
    return " and ".join(f"`{path.name}`" for path in paths)


def page(parts: dict[str, str]) -> str:
    """Return the page: the template with its tables, without runs of empty lines."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown, not HTML
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template(TEMPLATE).render(parts)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


if __name__ == "__main__":
    main()
