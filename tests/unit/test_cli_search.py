"""`simulator search` as a user meets it: tables, files that run, mistakes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from search_samples import NARROW, SCENARIOS
from test_cli import command, invoke

from simulator.report.search_tables import layout_text, notes_of, reasons_text
from simulator.search.results import FILES

if TYPE_CHECKING:
    from pathlib import Path

FEW = ("--set", NARROW, "--set", "batch.global_batch=128", "--workers", "1")


def test_tables_name_the_best_and_what_others_lose() -> None:
    done = invoke("search", "llama-13b-64-a100", *FEW)
    assert done.returncode == 0
    assert "legal layouts" in done.stdout
    assert "Best by step time" in done.stdout
    assert "Pareto front of time and memory" in done.stdout
    assert re.search(r"\+\d\.\d% (compute|recompute|bubble|exposed)", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("model.tied_embeddings=true", "cluster.accelerator.memory_gb=40"),
        ("software.gradient_reduce_overlap=false", "cluster=a100-selene"),
    ],
    ids=["names", "profiles that are changed", "another cluster"],
)
def test_the_best_runs_and_takes_as_long(tmp_path: Path, changes: tuple[str, ...]) -> None:
    options = [item for change in changes for item in ("--set", change)]
    done = invoke("search", "llama-13b-64-a100", *FEW, *options, "--out", tmp_path, "--json")
    found = json.loads(done.stdout)
    assert set(found["files"]) == set(FILES)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES.values(), "parts"}
    best = found["best"][0]
    step = json.loads(invoke("run", tmp_path / "best.yaml", "--json").stdout)
    assert step["step_time_s"] == pytest.approx(best["step_time_s"], rel=1e-9)
    assert step["memory_gib"]["peak"] == pytest.approx(best["peak_memory_gib"], rel=1e-9)
    assert step["layout"]["tensor"] == best["tensor"]
    layouts = pd.read_parquet(tmp_path / "layouts.parquet")
    assert len(layouts) == found["layouts"]
    assert layouts["step_time_s"][0] == best["step_time_s"]


def test_a_scenario_with_profiles_of_its_own_stands_alone(tmp_path: Path) -> None:
    """Neither the directory nor the file of the model is needed to run the best."""
    own = tmp_path / "own"
    (own / "software").mkdir(parents=True)
    (own / "software" / "mine.yaml").write_text(
        "base: megatron-core-2025\nstep_overhead_us: 70000\n", encoding="utf-8"
    )
    text = (SCENARIOS / "llama-13b-64-a100.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("software:")]
    scenario = tmp_path / "mine.yaml"
    scenario.write_text("\n".join([*lines, "software: mine", "profiles: own"]), encoding="utf-8")
    out = tmp_path / "out"
    found = json.loads(invoke("search", scenario, *FEW, "--out", out, "--json").stdout)
    (own / "software" / "mine.yaml").unlink()
    step = json.loads(invoke("run", out / "best.yaml", "--json").stdout)
    assert step["step_time_s"] == found["best"][0]["step_time_s"]


def test_cost_ranks_sizes_of_the_job() -> None:
    """Rent times accelerators times seconds; the cheapest step need not be the fastest."""
    sizes = "space={accelerators: [32, 64], tensor: [2, 4], pipeline: [1, 2], context: [1]}"
    priced = ("--set", "cluster=h100-p5", "--set", sizes, "--set", "batch.global_batch=128")
    options = (*priced, "--workers", "1", "--by", "cost")
    found = json.loads(invoke("search", "llama-13b-64-a100", *options, "--json").stdout)
    rent = found["rent_per_accelerator_hour"]
    costs = [place["cost_per_step"] for place in found["best"]]
    assert costs == sorted(costs)
    best = found["best"][0]
    assert costs[0] == pytest.approx(rent * best["accelerators"] * best["step_time_s"] / 3600)
    shown = invoke("search", "llama-13b-64-a100", *options)
    assert f"{found['currency']}/step" in shown.stdout
    assert "32 accelerators" in shown.stdout


def test_headroom_ranks_by_memory() -> None:
    done = invoke("search", "llama-13b-64-a100", *FEW, "--by", "memory_headroom", "--json")
    memory = [place["peak_memory_gib"] for place in json.loads(done.stdout)["best"]]
    assert memory == sorted(memory)


def test_networks_have_no_layouts() -> None:
    done = invoke("search", "resnet50-256-p100")
    assert done.returncode == 2
    assert "convolutional network" in done.stderr


def test_quiet_is_one_line() -> None:
    done = invoke("search", "llama-13b-64-a100", *FEW, "--quiet")
    assert done.stdout.count("\n") == 1
    assert "with tp" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by", "speed"), "--by speed: layouts are ranked by step_time, memory_headroom, cost"),
        (("--set", "space={tensor: [7]}"), "no legal layout"),
        (("--set", "space={tensors: [1]}"), "did you mean 'tensor'"),
        (("--set", "space={tensor: 1}"), "space.tensor"),
        (("--set", "space={schedule: [zigzag]}"), "space.schedule"),
        (("--dask", "tcp://127.0.0.1:9"), "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_mistakes_are_one_message(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    if "--dask" in options:
        pytest.importorskip("distributed", reason="the extra [dask] is not installed")
        monkeypatch.setattr("simulator.search.workers.DASK_TIMEOUT", 0.5)
    done = invoke("search", "llama-13b-64-a100", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_command_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.cli.search.search_layouts", interrupted)
    assert invoke("search", "llama-13b-64-a100").returncode == 130


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_a_terminal_shows_rate_and_time_left() -> None:
    main, other = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "simulator.cli.main", "search", "llama-13b-64-a100", *FEW],
        stdout=subprocess.DEVNULL,
        stderr=other,
        cwd=SCENARIOS.parent,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(SCENARIOS.parent)},
    ) as running:
        os.close(other)
        shown = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(main)
    assert running.returncode == 0
    assert b"layouts" in shown
    assert b"0:00:00" in shown or b"-:--:--" in shown


def test_help_shows_examples() -> None:
    done = command("search", "--help")
    assert "simulator run results/best.yaml" in done.stdout


LAYOUT = {
    "tensor": 8,
    "sequence_parallel": True,
    "context": 1,
    "pipeline": 16,
    "virtual_stages": 3,
    "schedule": "interleaved_1f1b",
    "data": 8,
    "sharding": "optimizer",
    "micro_batch": 2,
    "recompute": "full",
    "recompute_every": 2,
    "order": "tensor data context pipeline",
}


def test_layouts_in_shorthand() -> None:
    assert layout_text(LAYOUT) == (
        "tp 8 sp, pp 16 x 3, dp 8 ZeRO-1, mb 2, recompute full/2, order tensor data pipeline"
    )
    alone = LAYOUT | {
        "tensor": 1,
        "pipeline": 1,
        "virtual_stages": 1,
        "sharding": "none",
        "recompute": "none",
    }
    assert layout_text(alone) == "dp 8, mb 2"
    plain = alone | {"pipeline": 2, "schedule": "1f1b", "order": "data tensor context pipeline"}
    assert layout_text(plain) == "pp 2 1f1b, dp 8, mb 2, order data pipeline"


def test_reasons_in_words() -> None:
    loses = {"bubble": 0.0312, "exposed_tensor": -0.004, "compute": 0.002, "other": 0.001}
    assert reasons_text({"loses": loses}) == "+3.1% bubble, -0.4% exposed tensor, +0.2% compute"


def test_near_ties_are_said_to_be_such() -> None:
    roomy = LAYOUT | {"peak_memory_gib": 40.0, "memory_headroom_gib": 39.0}
    summary = {
        "near_tie": 0.01,
        "near_ties": 4,
        "best": [{"peak_memory_gib": 70.0}],
        "roomiest_near_tie": roomy,
        "notes": [],
    }
    (told,) = notes_of(summary)
    assert told.startswith("3 other layouts are within 1.0% of the fastest: near ties")
    assert told.endswith("leaves the most memory: 39.0 GiB.")
    assert notes_of(summary | {"near_ties": 1}) == [
        "No other layout is within 1.0% of the fastest."
    ]
