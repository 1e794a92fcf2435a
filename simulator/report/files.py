"""An output directory that appears whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from simulator.errors import OutputError

if TYPE_CHECKING:
    from types import TracebackType

DISK_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""What the operating system says when writing fails: no fault of the program."""


class OutputDirectory:
    """Collects files beside their target and moves them there once all are written.

    ::

        with OutputDirectory(target) as directory:
            write_json(summary, directory.path("summary.json"))
            write_spans(spans, directory.path("spans.parquet"), facts)

    A target that does not exist appears in one rename. In one that exists each file is replaced
    whole and other files stay. After an error or an interrupt in the ``with`` block the target is
    as it was before, and directories made on the way to it are gone.

    Parameters
    ----------
    target
        The directory; its parents are made as needed.

    Raises
    ------
    OutputError
        On entering, if the target is a file or cannot be written; on leaving, if the disk is full
        or a file cannot be moved.
    """

    def __init__(self, target: Path) -> None:
        """Remember the target; nothing is touched before the ``with`` block."""
        self.target = target
        self._made: list[Path] = []
        self._staging = target
        self._files = target

    def __enter__(self) -> Self:
        """Make a staging directory on the target's file system."""
        try:
            if self.target.exists() and not self.target.is_dir():
                raise self._refusal("it is a file, not a directory")
            home = self.target if self.target.is_dir() else self.target.parent
            self._made = [path for path in (home, *home.parents) if not path.exists()]
            home.mkdir(parents=True, exist_ok=True)
            self._staging = Path(tempfile.mkdtemp(prefix=".tmp-", dir=home))
        except OSError as error:
            self._remove_made()
            raise self._refusal(_reason(error)) from error
        # Not the staging directory itself: mkdtemp makes that one unreadable to others.
        self._files = self._staging / "files"
        self._files.mkdir()
        return self

    def path(self, name: str) -> Path:
        """Return where to write the file that becomes ``target / name``; a name has no slash."""
        return self._files / name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Publish the files, or drop them after an error."""
        try:
            if error is None:
                self._publish()
            elif isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise self._refusal(_reason(error)) from error
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
            if not self.target.exists():
                self._remove_made()

    def _publish(self) -> None:
        try:
            if not self.target.exists():
                self._files.rename(self.target)
                return
            names = sorted(path.name for path in self._files.iterdir())
            for name in names:  # before the first file is replaced
                if (self.target / name).is_dir():
                    raise self._refusal(f"{name} is a directory there")
            for name in names:
                (self._files / name).replace(self.target / name)
        except OSError as error:
            raise self._refusal(_reason(error)) from error

    def _remove_made(self) -> None:
        """Remove the directories made for this target, innermost first, unless in use by now."""
        for path in self._made:
            with suppress(OSError):
                path.rmdir()

    def _refusal(self, reason: str) -> OutputError:
        return OutputError(f"results cannot be written to {self.target}: {reason}")


def _reason(error: OSError) -> str:
    """Return what the operating system says and about which file, if it tells."""
    where = error.filename2 or error.filename
    return f"{error.strerror} ({where})" if where else f"{error.strerror}"
