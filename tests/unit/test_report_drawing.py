"""Pictures by another process are those drawn here, and whatever befalls it is said."""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from report_samples import Pipeline, sample_spans, sample_summary

from simulator import simulate
from simulator.errors import OutputError
from simulator.report import results
from simulator.report.drawing import DrawingProcess
from simulator.report.pictures import timeline_picture

TOY = Path(__file__).parents[2] / "scenarios" / "four-stages.yaml"
SMALL = Pipeline(stages=4, micro_batches=8)


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_files_are_the_same_bytes_whoever_draws_them(tmp_path: Path) -> None:
    result = simulate(TOY)
    here = result.write(tmp_path / "here")
    with closing(DrawingProcess()) as drawer:
        there = result.write(tmp_path / "there", drawer=drawer)
    assert here.keys() == there.keys()
    for what, path in here.items():
        assert path.read_bytes() == there[what].read_bytes(), what


def test_the_process_ends_with_its_block() -> None:
    with closing(DrawingProcess()) as drawer:
        process = drawer.process.pid
        assert running(process)
    assert not running(process)


def test_what_drawing_raises_is_raised_here(tmp_path: Path) -> None:
    spans, summary = sample_spans(SMALL), sample_summary(SMALL)
    with closing(DrawingProcess()) as drawer:
        drawer.draw(timeline_picture, spans, summary, to=[tmp_path / "missing" / "a.png"])
        with pytest.raises(FileNotFoundError, match="missing"):
            drawer.finish()


def test_a_killed_process_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    result = simulate(TOY)
    with closing(DrawingProcess()) as drawer:
        os.kill(drawer.process.pid, signal.SIGKILL)
        with pytest.raises(OutputError, match="was killed; nothing is written"):
            result.write(tmp_path / "out", drawer=drawer)
    assert list(tmp_path.iterdir()) == []


def test_the_process_is_stopped_where_other_files_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results, "write_spans", full)
    with closing(DrawingProcess()) as drawer:
        with pytest.raises(OutputError, match="No space left"):
            simulate(TOY).write(tmp_path / "out", drawer=drawer)
        assert drawer.process.poll() is not None
    assert list(tmp_path.iterdir()) == []


def test_the_process_ends_when_nobody_is_left_to_ask() -> None:
    """As after ``kill -9`` of the run."""
    drawer = DrawingProcess()
    drawer._pipe.close()  # noqa: SLF001 - nobody closes one end while both live
    for _ in range(200):
        if drawer.process.poll() is not None:
            break
        time.sleep(0.05)
    assert drawer.process.returncode == 0
