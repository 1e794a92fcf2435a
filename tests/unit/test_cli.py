"""The command as a user meets it: output, files, and one clear message for every mistake."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from simulator import __version__
from simulator.cli.main import main
from simulator.report import results

ROOT = Path(__file__).parents[2]
TOY = ROOT / "scenarios" / "four-stages.yaml"
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
FILES = {
    "summary.json",
    "trace.parquet",
    "timeline.png",
    "timeline.svg",
    "memory.png",
    "trace.perfetto.json",
}


def command(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"},
        timeout=120,
        check=False,
    )


def invoke(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: as `command`, without the wait for Python to start."""
    argv = ["simulator", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", argv),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert isinstance(end.value.code, int)
    return subprocess.CompletedProcess(argv, end.value.code, out.getvalue(), err.getvalue())


def refused(*arguments: str | Path) -> str:
    """Return the message of a command that must refuse its arguments."""
    done = invoke(*arguments)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def changed(path: Path, old: str, new: str) -> Path:
    """Write the toy scenario with one text replaced."""
    text = TOY.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], "pandas matplotlib pyarrow networkx simpy numpy pydantic"),
        (["run", str(TOY)], "pandas matplotlib pyarrow networkx"),
    ],
)
def test_nothing_is_imported_that_is_not_needed(arguments: list[str], heavy: str) -> None:
    code = (
        f"import sys; sys.argv = ['simulator', *{arguments!r}]\n"
        "from simulator.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted(set({heavy.split()!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_shipped_scenarios_run_by_name_from_anywhere(scenario: Path, tmp_path: Path) -> None:
    done = command("run", scenario.stem, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one step takes" in done.stdout
    assert "100.0%" in done.stdout


def test_json_is_all_that_stands_on_stdout() -> None:
    done = invoke("run", TOY, "--json")
    summary = json.loads(done.stdout)
    assert done.stderr == ""
    assert summary["step_time_s"] > 0
    assert set(summary["mfu"]) == {"palm", "megatron", "causal"} == set(summary["hfu"])
    assert sum(summary["breakdown_s"].values()) == pytest.approx(summary["step_time_s"], rel=1e-12)
    assert {
        "tokens_per_s",
        "tokens_per_s_per_accelerator",
        "bubble_fraction",
        "bubble_fraction_ideal",
        "memory_gib",
        "fits",
    } <= set(summary)


def test_every_summary_key_is_documented() -> None:
    summary = json.loads(invoke("run", TOY, "--json").stdout)
    text = (ROOT / "docs" / "summary.md").read_text(encoding="utf-8")
    # `mfu`, or its parts: `memory_gib.peak`, `assumptions[]`
    assert [key for key in summary if not re.search(rf"`{key}[`.\[]", text)] == []


def test_out_writes_every_file_and_says_where(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "results"
    done = invoke("run", TOY, "--out", target)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in target.iterdir()} == FILES
    listed = [Path(line[2:]) for line in done.stdout.splitlines() if line.startswith("- /")]
    assert set(listed) == set(target.iterdir())
    assert json.loads((target / "summary.json").read_text())["accelerators"] == 4


def test_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert invoke("run", TOY, "--out", tmp_path / name).returncode == 0
    for file in sorted(FILES):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("a", "b"))
        assert first == second, file


def test_a_file_in_the_way_is_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "results"
    target.write_text("mine")
    assert "it is a file" in refused("run", TOY, "--out", target)
    assert target.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_set_changes_any_field() -> None:
    done = invoke(
        "run",
        TOY,
        "--json",
        "--set",
        "batch.global_batch=16",
        "--set",
        "cluster.accelerator=h200-sxm",
    )
    summary = json.loads(done.stdout)
    assert summary["batch"]["micro_batches"] == 16
    assert "H200" in summary["accelerator"]


def test_profiles_of_the_user_come_first(tmp_path: Path) -> None:
    (tmp_path / "accelerators").mkdir()
    (tmp_path / "accelerators" / "h100-sxm.yaml").write_text(
        "base: h100-sxm\nname: Our H100\nmemory_gb: 40\n", encoding="utf-8"
    )
    summary = json.loads(invoke("run", TOY, "--json", "--profiles", tmp_path).stdout)
    assert summary["accelerator"] == "Our H100"
    assert summary["memory_gib"]["capacity"] == pytest.approx(40e9 / 2**30)


def test_schedule_prints_its_text_form() -> None:
    done = invoke("schedule", "1f1b", "--stages", "2", "--microbatches", "3")
    assert done.stdout == "F0 F1 B0 F2 B1 B2\nF0 B0 F1 B1 F2 B2\n"


def test_schedule_draws(tmp_path: Path) -> None:
    picture = tmp_path / "s.png"
    done = invoke("schedule", "gpipe", "--stages", "2", "--microbatches", "3", "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    "kind",
    ["accelerators", "nodes", "fabrics", "clusters", "software", "kernels", "models", "scenarios"],
)
def test_show_lists_every_kind(kind: str) -> None:
    done = invoke("show", kind)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3


def test_show_prints_sources() -> None:
    done = invoke("show", "h200-sxm")
    assert "measured" in done.stdout
    assert "published" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "h100x"), "did you mean 'h100-sxm'"),
        (("schedule", "zigzag", "--stages", "2", "--microbatches", "2"), "there are: gpipe"),
        (("schedule", "1f1b", "--stages", "0", "--microbatches", "2"), "stages"),
        (
            (
                "schedule",
                "interleaved_1f1b",
                "--stages",
                "4",
                "--microbatches",
                "6",
                "--chunks",
                "2",
            ),
            "6 micro-batches",
        ),
        (("schedule", "1f1b", "--stages", "2", "--microbatches", "2", "--plot", "x.gif"), ".png"),
        (("run", TOY, "--engine", "warp"), "there are: auto, simpy, compiled"),
        (("run", TOY, "--set", "layout.tensor"), "expected KEY=VALUE"),
        (("run", TOY, "--jitter", "lognormal:2"), "--jitter lognormal:2: the spread must be"),
        (("run", TOY, "--slow-ranks", "0.5%:10%"), "of 4 ranks is less than half of one"),
        (("run", TOY, "--slow-rank", "4:1.2"), "slow rank 4: the job has ranks 0 to 3"),
        (("run", TOY, "--slow-interface", "x"), "--slow-interface x: must be RANK:FACTOR"),
        (("run", TOY, "--samples", "10"), "--samples 10: nothing is drawn"),
        (("run", TOY, "--set", "layout.tensro=2"), "did you mean 'tensor'"),
        (("run", TOY, "--set", "layout.tensor=2"), "= 8 ranks, but the scenario has 4"),
        (("run", TOY, "--set", "batch.global_batch=0"), "must be at least 1, got 0"),
        (("run", TOY, "--set", "batch.global_batch=-4"), "must be at least 1, got -4"),
        (("run", TOY, "--set", "batch.sequence_length=.nan"), "whole number, got nan"),
        (("run", TOY, "--set", "batch.global_batch=99999999999"), "at most"),
        (("run", TOY, "--set", "layout.pipeline=four"), "whole number, got 'four'"),
        (("run", TOY, "--set", "precision=bf61"), "did you mean 'bf16'"),
        (("run", TOY, "--set", "precision=mxfp4"), "has no mxfp4 rate"),
        (("run", TOY, "--set", "cluster.accelerator=h1000"), "unknown accelerator 'h1000'"),
        (("run", TOY, "--set", "cluster=h100-ndr40"), "did you mean 'h100-ndr400'"),
        (("run", TOY, "--set", "cluster.fabric.nic_gbit_per_s=-1"), "greater than 0"),
        (("run", TOY, "--set", "schedule=1f1bb"), "did you mean '1f1b'"),
        (("run", TOY, "--set", "batch.global_batch=100000000"), "actions; at most 5,000,000"),
        (("run", TOY, "--set", "layout.pipeline=1000000000"), "actions; at most 5,000,000"),
        (("run", TOY, "--set", "model.layers=1000000"), "must be at most 10,000"),
        (("run", TOY, "--set", "placement.nodes=scattered"), "needs one, such as seed: 1"),
        (("run", TOY, "--set", "placement.nodes=scaterd"), "did you mean 'scattered'"),
        (("run", TOY, "--set", "placement.seed=1"), "draws nothing at random; remove it"),
        (("run", TOY, "--set", "placement.lost_nodes=[8192]"), "has the nodes 0 to 8,191"),
        (("run", TOY, "--set", "placement.lost_nodes=[4, 4]"), "names node 4 twice"),
        (("run", TOY, "--set", "placement.lost_node=[4]"), "did you mean 'lost_nodes'"),
        (
            ("run", TOY, "--set", "cluster.largest=8", "--set", "placement.lost_nodes=[0]"),
            "leaves 0 nodes of h100-ndr400, but 4 accelerators need 1",
        ),
        (
            (
                *("run", TOY, "--set"),
                "cluster.fabric.islands={accelerators: 12, link_gbit_per_s: 1, latency_ms: 9}",
            ),
            "12 are no whole nodes of 8",
        ),
        (("run", TOY, "--set", "cluster.node.torus=[2, 4]"), "describe no switch; remove them"),
        (("run", TOY, "--set", "cluster.node.scale_up=torus"), "needs torus, such as [16, 16]"),
        (
            ("run", TOY, "--set", "cluster.fabric={base: roce400-clos, rails: 4}"),
            "give it with rail_optimised: true",
        ),
        (("run", TOY, "--set", "layout.sequence_parallel=true"), "needs layout.tensor > 1"),
        (("run", TOY, "--set", "network.sharing=fare"), "did you mean 'fair'"),
        (("run", TOY, "--set", "network.rooting=ecmp"), "did you mean 'routing'"),
        (("run", TOY, "--set", "network.background=0.96"), "must be a share from 0 to 0.95"),
        (("run", TOY, "--set", "network.background=-0.1"), "network.background"),
        (("run", TOY, "--set", "network.seed=3"), "only routing: ecmp reads it"),
        (
            ("run", TOY, "--set", "network={routing: ecmp, flows_per_pair: 1000}"),
            "must be at most 256, got 1,000",
        ),
        (
            ("run", TOY, "--set", "network.routing=ecmp"),
            "network.routing: ecmp needs flows_per_pair",
        ),
        (
            ("run", TOY, "--set", "network={routing: adaptive, flows_per_pair: 4}"),
            "but routing is adaptive",
        ),
        (("run", "llama-8b-2-islands", "--slow-rank", "1:2"), "simulated for one job alone"),
        (("collective", "all_reduce", "--cluster", "h100-ndr400", "--ranks", "0"), "at least 1"),
        (
            (
                *("collective", "all_to_all", "--cluster", "h100-ndr400", "--ranks", "65536"),
                *("--imbalance", "2"),
            ),
            "4,294,901,760 pairs",
        ),
        (("run", "no-such-scenario"), "unknown scenario"),
        (("run", "no/such/file.yaml"), "no such file"),
        (("run", ROOT), "is a directory"),
    ],
)
def test_mistakes_get_one_clear_message(arguments: tuple[str | Path, ...], expected: str) -> None:
    assert expected in refused(*arguments)


def test_all_mistakes_of_a_file_come_at_once(tmp_path: Path) -> None:
    path = changed(tmp_path / "s.yaml", "pipeline: 4", "pipelnie: 4")
    text = path.read_text().replace("cluster: h100-ndr400", "cluster: h100")
    path.write_text(text.replace("micro_batch: 1", "micro_batch: 1.5"))
    lines = refused("run", path).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}:") for line in lines)


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path / "s.yaml", "schedule: 1f1b", "schedule: 1f1b\nschedule: gpipe")
    assert "'schedule' was already given" in refused("run", path)


def test_binary_junk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "junk.yaml"
    path.write_bytes(bytes(range(256)) * 10)
    assert "not UTF-8" in refused("run", path)


INTERRUPTIBLE = """\
from simulator import api
from simulator.cli.main import main

play = api.play

def announced(program, engine):
    print("playing", flush=True)
    return play(program, engine)

api.play = announced
main()
"""
"""The command, saying when its engine starts: a signal sent earlier would meet the imports."""


LONG = ("--engine", "simpy", "--set", "batch.global_batch=200000")
"""Ten seconds of playing: a machine that stalls does not end before the signal comes."""


def test_interrupting_leaves_no_files(tmp_path: Path) -> None:
    arguments = ("run", str(TOY), "--out", str(tmp_path / "results"))
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *arguments, *LONG],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "playing\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (printed, message) == ("", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "cannot be written"),
        (MemoryError(), 2, "not enough memory"),
    ],
    ids=["interrupt", "full disk", "out of memory"],
)
def test_what_fails_while_writing_leaves_the_old_files(
    tmp_path: Path, error: BaseException, code: int, message: str
) -> None:
    (tmp_path / "summary.json").write_text("of yesterday")
    with mock.patch.object(results, "write_perfetto", side_effect=error):
        done = invoke("run", TOY, "--out", tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_text() == "of yesterday"


def test_a_bug_shows_its_traceback_and_leaves_no_files(tmp_path: Path) -> None:
    argv = ["simulator", "run", str(TOY), "--out", str(tmp_path / "r")]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(results, "write_perfetto", side_effect=ZeroDivisionError),
        pytest.raises(ZeroDivisionError),
    ):
        main()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_behind_stdout_is_said_once(options: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "simulator.cli.main", "run", str(TOY), *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "the output cannot be written: No space left on device\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator.cli.main", "run", str(TOY), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    with process.stderr as stream:
        assert stream.read() == b""
    process.wait(timeout=60)


def test_a_terminal_without_bars_still_gets_the_numbers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulator.cli.main", "run", str(TOY)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b"100.0%" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("run",), ("schedule",), ("show",)], ids=str)
def test_help_has_examples(arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments, "--help")
    assert done.returncode == 0
    assert done.stdout.count("\n  simulator ") >= 2  # a line each, not joined into prose


def test_version() -> None:
    assert invoke("--version").stdout == f"simulator {__version__}\n"


def test_quiet_prints_one_line() -> None:
    done = invoke("run", TOY, "--quiet", "--set", f"name={60 * 'x'}")
    (line,) = done.stdout.splitlines()
    assert "one step takes" in line


def test_json_names_the_files(tmp_path: Path) -> None:
    done = invoke("run", TOY, "--json", "--out", tmp_path / "r")
    files = [Path(file) for file in json.loads(done.stdout)["files"].values()]
    assert {file.name for file in files} == FILES
    assert all(file.is_file() for file in files)


def test_a_directory_hides_no_shipped_scenario(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "four-stages").mkdir()
    monkeypatch.chdir(tmp_path)
    assert invoke("run", "four-stages", "--quiet").returncode == 0


def test_scenarios_of_the_user_have_names(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "toy-1.5.yaml").write_bytes(TOY.read_bytes())
    assert invoke("run", "toy-1.5", "--profiles", tmp_path, "--quiet").returncode == 0


def test_show_needs_the_kind_of_an_ambiguous_name() -> None:
    assert "say accelerator/mi300x or kernels/mi300x" in refused("show", "mi300x")
    for name in ("accelerator/mi300x", "accelerators/mi300x"):
        assert invoke("show", name).stdout.startswith("accelerator mi300x")


def test_show_prints_lists_and_brackets_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "software").mkdir()
    text = 'ways: [1, 2]\nnothing: null\nspeed: {value: 3, source: "[bold] 2", note: as seen}\n'
    (tmp_path / "software" / "ours.yaml").write_text(text)
    printed = invoke("show", "ours", "--profiles", tmp_path).stdout
    assert all(words in printed for words in ("[1, 2]", "null", "[bold] 2; as seen"))


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    order = ("schedule", "1f1b", "--stages", "2", "--microbatches", "2")
    message = refused(*order, "--plot", tmp_path / "file" / "order.png")
    assert "it is a file, not a directory" in message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_endless_schedule_is_refused() -> None:
    message = refused("schedule", "1f1b", "--stages", "4", "--microbatches", "2000000000")
    assert "16,000,000,000 actions; at most" in message


def test_the_readme_runs(tmp_path: Path) -> None:
    """The README's run command, after its set-up, with the output put elsewhere."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("## Run", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    *setup, run = block.strip().split(" && ")
    assert setup == ["python3 -m venv .venv", ".venv/bin/pip install -q -e ."]
    program, *arguments = shlex.split(run)
    assert program == ".venv/bin/simulator"
    arguments[arguments.index("--out") + 1] = str(tmp_path / "results")
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "results").iterdir()} == FILES


def test_ranks_that_differ_are_played_drawn_and_written(tmp_path: Path) -> None:
    out = tmp_path / "results"
    drawn = (
        "--per-rank",
        "--jitter",
        "lognormal:0.02",
        "--slow-ranks",
        "25%:10%",
        "--samples",
        "5",
    )
    printed = invoke("run", str(TOY), *drawn, "--seed", "3", "--out", str(out), "--json")
    summary = json.loads(printed.stdout)
    assert summary["variation"]["samples"] == 5
    assert summary["variation"]["step_time_s"]["mean"] > summary["step_time_s"]
    assert (out / "step_times.png").stat().st_size > 1000
    table = pd.read_parquet(out / "step_times.parquet")
    assert list(table) == ["sample", "step_time_s", "without_slow_ranks_s"]
    assert table["step_time_s"].mean() == pytest.approx(summary["variation"]["step_time_s"]["mean"])
    again = json.loads(invoke("run", str(TOY), *drawn, "--seed", "3", "--json").stdout)
    assert again["variation"] == summary["variation"]


def test_engines_agree_on_the_command_line() -> None:
    by_engine = [
        json.loads(invoke("run", str(TOY), "--engine", engine, "--json").stdout)
        for engine in ("simpy", "compiled")
    ]
    assert [summary.pop("engine") for summary in by_engine] == ["simpy", "compiled"]
    assert by_engine[0] == by_engine[1]
