"""`simulator validate`: tables are recognised, files written whole, mistakes told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pandas as pd
import pytest
from rich.console import Console
from validation_samples import sample_predictions

from simulator.cli.main import main
from simulator.errors import DocumentError
from simulator.report.palette import write_figure
from simulator.report.validation_page import validation_page
from simulator.report.validation_plot import validation_figure
from simulator.report.validation_tables import validation_tables
from simulator.validation import errors, predictions, ranks, statistics
from simulator.validation.tables import TableKind, family_of, kind_of, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure

CURATED = Path(__file__).parents[2] / "benchmarks" / "published" / "runs.csv"
HEADER = "run_id,source,model,accelerator,n_accel,step_time_s,oom,sequence_parallel,gbs,seq_len\n"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(
        HEADER
        + "a,study,m,H100-SXM,8,2.0,False,True,16,1024\n"
        + "b,study,m,H100-SXM,8,,True,,16,1024\n",
        encoding="utf-8",
    )
    return path


def fake(*_: object) -> dict[str, Any]:
    return {"status": "ok", "reason": "", "step_time_s": 2.2, "fits": True, "peak_memory_gib": 10.0}


@pytest.fixture
def faked() -> Iterator[None]:
    with mock.patch.object(predictions, "predict_row", fake):
        yield


Drawn = tuple[pd.DataFrame, "Figure"]


def call(*arguments: str | Path) -> int | str | None:
    with (
        mock.patch.object(sys, "argv", ["simulator", "validate", *map(str, arguments)]),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return end.value.code


@pytest.mark.parametrize(
    ("columns", "kind", "family"),
    [
        ("run_id source model accelerator n_accel", TableKind.RUNS, ""),
        ("accelerator n_gpus nodes collective message_bytes time_us", TableKind.COLLECTIVES, ""),
        ("model n_layers seq mbs grad_accum step_ms", TableKind.STEPS, ""),
        ("dtype pass m n k time_us tflops", TableKind.OPERATORS, "gemm"),
        ("backend pass heads seq head_dim time_us", TableKind.OPERATORS, "attention"),
        ("experts tokens_per_expert n k time_us", TableKind.OPERATORS, "grouped_gemm"),
        ("op rows cols bytes_moved time_us", TableKind.OPERATORS, "pointwise"),
    ],
)
def test_tables_are_recognised_by_their_columns(columns: str, kind: TableKind, family: str) -> None:
    frame = pd.DataFrame(columns=columns.split())
    assert kind_of(frame, Path("t.csv")) is kind
    if family:
        assert family_of(frame) == family


def test_an_unknown_table_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"t\.csv.*columns needed are\n  runs: accelerator"):
        kind_of(read_table(path), path)


@pytest.mark.parametrize("text", ["", "run_id\n"])
def test_an_empty_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match="table"):
        read_table(path)


@pytest.mark.usefixtures("faked")
def test_runs_stand_beside_their_measurements(runs: Path) -> None:
    counts: list[int] = []
    frame = predictions.predict_runs(read_table(runs), workers=1, advance=counts.append)
    assert counts == [1, 1]
    assert frame["run_id"].tolist() == ["a", "b"]
    assert frame["measured_step_time_s"].isna().tolist() == [False, True]
    assert frame["measured_oom"].tolist() == [False, True]
    assert len(set(frame["group"])) == 1
    assert statistics.summary(frame)["splits"]["validation"]["mape"] == pytest.approx(0.1)


def test_a_row_that_cannot_be_computed_with_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("could not convert string to float: 'x'")

    module = mock.Mock(predict_row=broken)
    monkeypatch.setattr(predictions, "import_module", lambda _: module)
    row = predictions.predict_row("runs", (), {"run_id": "a"})
    assert row["status"] == "invalid"
    assert "'x'" in row["reason"]


@pytest.mark.usefixtures("faked")
def test_the_command_writes_its_files(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call(runs, "--out", out, "--json", "--workers", "1") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["table"] == "runs"
    assert printed["splits"]["validation"]["compared"] == 1
    assert {path.name for path in out.iterdir()} == {
        "predictions.csv",
        "validation.html",
        "validation.png",
        "validation.svg",
        "validation.json",
    }
    assert pd.read_csv(out / "predictions.csv")["step_time_s"].tolist() == [2.2, 2.2]


@pytest.mark.usefixtures("faked")
def test_a_run_without_its_size_keeps_its_row(runs: Path, tmp_path: Path) -> None:
    text = runs.read_text(encoding="utf-8").replace("H100-SXM,8,", "H100-SXM,,")
    runs.write_text(text, encoding="utf-8")
    assert call(runs, "--out", tmp_path / "out") == 0
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 2


@pytest.mark.usefixtures("faked")
def test_the_command_prints_tables(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(runs) == 0
    assert "study" in capsys.readouterr().out


def test_mistakes_are_told(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("nowhere.csv") == 2
    assert "nowhere.csv" in capsys.readouterr().err
    assert call(runs, "--split", "training") == 2
    assert "validation, calibration" in capsys.readouterr().err


def test_tables_fit_a_hundred_columns() -> None:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        for part in validation_tables(statistics.summary(sample_predictions())):
            console.print(part)
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert "mixture of experts" in text


@pytest.fixture
def drawn() -> Callable[[], Drawn]:
    def draw() -> Drawn:
        compared = errors.with_errors(sample_predictions())
        layouts = ranks.ranked_layouts(compared)
        return compared, validation_figure(compared, layouts, statistics.summary(compared))

    return draw


def test_the_page_escapes_and_needs_no_network(drawn: Callable[[], Drawn]) -> None:
    compared, figure = drawn()
    summary = statistics.summary(sample_predictions())
    page = validation_page(compared, summary, figure, title="<i>runs</i>.csv")
    assert "&lt;b&gt;other&lt;/b&gt;" in page
    assert "<b>other" not in page
    assert "<i>runs" not in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_the_picture_is_the_same_every_time(drawn: Callable[[], Drawn], tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        write_figure(drawn()[1], tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_curated_runs_cite_their_sources() -> None:
    table = read_table(CURATED)
    assert kind_of(table, CURATED) is TableKind.RUNS
    assert 200 < len(table) < 600
    assert (table["source_ref"] != "").all()
    assert not table["run_id"].duplicated().any()
    assert (table["oom"] == "True").any()
