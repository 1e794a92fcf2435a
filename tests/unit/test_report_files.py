"""An output directory appears whole or not at all."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING, NoReturn

import pytest

from simulator.errors import OutputError
from simulator.report.files import OutputDirectory

if TYPE_CHECKING:
    from pathlib import Path


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_new_target_appears_with_its_parents(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with OutputDirectory(target) as directory:
        directory.path("x.txt").write_text("new")
        assert not target.exists()
    assert names(tmp_path) == ["a", "a/b", "a/b/x.txt"]
    assert target.stat().st_mode & 0o777 == (tmp_path / "a").stat().st_mode & 0o777


def test_files_are_replaced_and_strangers_stay(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("old")
    (tmp_path / "notes.md").write_text("mine")
    with OutputDirectory(tmp_path) as directory:
        directory.path("x.txt").write_text("new")
        assert (tmp_path / "x.txt").read_text() == "old"
    assert names(tmp_path) == ["notes.md", "x.txt"]
    assert (tmp_path / "x.txt").read_text() == "new"


def write_and_fail(target: Path, error: BaseException) -> None:
    with OutputDirectory(target) as directory:
        directory.path("x.txt").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_content(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(type(error)):
        write_and_fail(tmp_path, error)
    assert names(tmp_path) == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


def test_an_error_leaves_no_new_directories(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"):
        write_and_fail(tmp_path / "a" / "b", ValueError("stop"))
    assert names(tmp_path) == []


def test_a_file_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(OutputError, match="x: it is a file"), OutputDirectory(tmp_path / "x"):
        pass
    with pytest.raises(OutputError, match=r"File exists|Not a directory"):
        OutputDirectory(tmp_path / "x" / "y").__enter__()
    assert (tmp_path / "x").read_text() == "a file"


def test_a_target_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a"))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match="Permission denied") as caught:
        OutputDirectory(tmp_path / "a" / "b").__enter__()
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_full_disk_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        write_and_fail(tmp_path, OSError(errno.ENOSPC, "No space left on device"))


def test_another_oserror_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_and_fail(tmp_path, FileNotFoundError(errno.ENOENT, "No such file"))


def test_a_directory_in_the_way_is_found_before_anything_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").mkdir()
    directory = OutputDirectory(tmp_path).__enter__()
    for name in ("a.txt", "b.txt"):
        directory.path(name).write_text("new")
    with pytest.raises(OutputError, match=r"b\.txt is a directory"):
        directory.__exit__(None, None, None)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt", "b.txt"]
