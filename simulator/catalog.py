"""The catalog: finds profiles, shipped and the user's, and puts them where documents name them.

A *reference* to a profile is written in one of three ways::

    cluster: h100-16k                            # the name of a profile: the stem of its file
    cluster: site/ours.yaml                      # a file, from where this line is written
    cluster: {base: h100-16k, largest: 4096}     # a profile with some keys changed

or the mapping is complete in itself. A profile may be based on another in turn, and may refer to
further profiles (`REFERENCES`).
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from simulator.documents import (
    Document,
    FieldPath,
    Mark,
    did_you_mean,
    dotted,
    graft,
    merge,
    read_document,
    shown,
)
from simulator.errors import DocumentError, Problem, ScenarioError, SimulatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accelerator": "hardware_profiles/accelerators",
        "node": "hardware_profiles/nodes",
        "fabric": "hardware_profiles/fabrics",
        "cluster": "hardware_profiles/clusters",
        "software": "hardware_profiles/software",
        "kernels": "hardware_profiles/kernels",
        "model": "scenarios/models",
        "scenario": "scenarios",
    }
)
"""Folder of each kind of profile."""

REFERENCES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "cluster": MappingProxyType(
            {"accelerator": "accelerator", "node": "node", "fabric": "fabric"}
        ),
        "accelerator": MappingProxyType({"kernels": "kernels"}),
    }
)
"""Fields of a profile that refer to profiles: by kind, the field and its kind."""

BASE: Final = "base"
"""Key that names the profile which a mapping changes."""

_SUFFIXES: Final = (".yaml", ".yml")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclasses.dataclass(frozen=True, slots=True)
class Catalog:
    """The profiles that can be named: those of the user's directories, then the shipped ones."""

    profile_directories: tuple[Path, ...] = ()
    """Searched in order, each for ``DIR/accelerators/NAME.yaml`` and then ``DIR/NAME.yaml``."""

    def __post_init__(self) -> None:
        """Refuse a profile directory that is not there."""
        for directory in self.profile_directories:
            if not directory.is_dir():
                raise DocumentError(f"{directory}: no such profile directory")

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of all profiles of a kind, sorted.

        A file directly in a profile directory can be named but is not listed: only its folder
        tells its kind.

        Raises
        ------
        SimulatorError
            If there is no such kind.
        """
        folders = [*self._own_folders(kind), _shipped_folder(kind)]
        files = (file for folder in folders for file in folder.glob("*.y*ml") if file.is_file())
        return tuple(sorted({file.stem for file in files if file.suffix in _SUFFIXES}))

    def path(self, kind: str, name: str) -> Path:
        """Return the file of the profile ``name``, or of a ``.yaml`` path given instead.

        Raises
        ------
        ScenarioError
            If there is none; the message lists the known names.
        """
        return self._file(_Reference(kind, name, Mark("", None), ()), before=())

    def document(self, kind: str, name: str) -> Document:
        """Return the profile ``name``, with its base and the profiles it refers to filled in.

        Its ``sources`` tell the source and status of every key.

        Raises
        ------
        ScenarioError
            If it, or a profile that it refers to, does not exist.
        DocumentError
            If its file cannot be read.
        """
        file = self.path(kind, name)
        return self._resolve(kind, read_document(file), (), before=(file,))

    def resolve(self, kind: str, document: Document, path: FieldPath) -> Document:
        """Return ``document`` with the reference at ``path`` replaced by what it refers to.

        Profiles that the profile refers to are filled in as well. What is absent or no reference
        (a number, say) is left for validation to report; so is a model written as the path of a
        ``.json`` file, which is no profile.

        Parameters
        ----------
        kind
            Kind of the profile, from `KINDS`.
        document
            A document; a relative file name in it counts from the file that the line stands in,
            or from the working directory if it was given as an option.
        path
            Where the reference stands; ``()`` for the document itself, which may have a base.

        Raises
        ------
        ScenarioError
            With every reference that leads nowhere, and its file and line.
        """
        return self._resolve(kind, document, path, before=())

    def resolve_all(self, document: Document, references: Mapping[FieldPath, str]) -> Document:
        """Return ``document`` with the references at the given paths resolved, by their kinds.

        Raises
        ------
        ScenarioError
            With the mistakes of all of them.
        """
        problems: list[Problem] = []
        for path, kind in references.items():
            try:
                document = self.resolve(kind, document, path)
            except ScenarioError as error:
                problems.extend(error.problems)
        if problems:
            raise ScenarioError(problems)
        return document

    def _resolve(
        self, kind: str, document: Document, path: FieldPath, before: tuple[Path, ...]
    ) -> Document:
        while reference := _reference(kind, document, path):
            file = self._file(reference, before)
            before = (*before, file)
            own = dataclasses.replace(document.part(path), problems=())
            document = graft(document, path, _based(kind, _profile(file, reference), own))
        fields = REFERENCES.get(kind, {})
        return self.resolve_all(document, {(*path, field): of for field, of in fields.items()})

    def _file(self, reference: _Reference, before: tuple[Path, ...]) -> Path:
        """Return the file that a reference names, none of those that led ``before`` to it.

        A user's profile may so be based on the shipped one of its own name.
        """
        files = list(self._candidates(reference))
        if not files:
            raise reference.error(self._unknown(reference))
        seen = {file.resolve() for file in before}
        fresh = (file for file in files if file.resolve() not in seen)
        if file := next(fresh, None):
            return file
        circle = " -> ".join(file.stem for file in (*before, files[0]))
        raise reference.error(f"profiles are based on one another in a circle: {circle}")

    def _candidates(self, reference: _Reference) -> Iterator[Path]:
        name = reference.name
        if name.endswith(_SUFFIXES):
            yield reference.directory / name
        elif _NAME.fullmatch(name):
            folders = [*self._own_folders(reference.kind), *self.profile_directories]
            folders.append(_shipped_folder(reference.kind))
            files = (folder / (name + suffix) for folder in folders for suffix in _SUFFIXES)
            yield from (file for file in files if file.is_file())

    def _own_folders(self, kind: str) -> list[Path]:
        folder = Path(_folder(kind)).name
        return [directory / folder for directory in self.profile_directories]

    def _unknown(self, reference: _Reference) -> str:
        if not _NAME.fullmatch(reference.name):
            return f"{shown(reference.name)} is neither a profile's name nor a path to a .yaml file"
        known = self.names(reference.kind)
        near = did_you_mean(reference.name, known)
        parts = (
            f"unknown {reference.kind} {shown(reference.name)}",
            near,
            f"known: {', '.join(known) or 'none'}",
        )
        return "; ".join(filter(None, parts))


def data_folder(name: str) -> Path:
    """Return the folder ``name`` of shipped data, in the installed package or in a checkout.

    Raises
    ------
    DocumentError
        If the installation has no such folder.
    """
    package = Path(__file__).parent
    places = (package / "data" / name, package.parent / name)
    if folder := next((place for place in places if place.is_dir()), None):
        return folder
    raise DocumentError(f"the installation is incomplete: it has no folder {name}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Reference:
    """A name where a profile is wanted, and where it was written."""

    kind: str
    name: str
    mark: Mark
    path: FieldPath

    @property
    def directory(self) -> Path:
        """From where a relative file name counts."""
        return Path(self.mark.file).parent if self.mark.line else Path()

    def error(self, message: str) -> ScenarioError:
        """Return the error that says ``message`` of this reference."""
        problem = Problem(where=str(self.mark), path=dotted(self.path), message=message)
        return ScenarioError([problem])


def _reference(kind: str, document: Document, path: FieldPath) -> _Reference | None:
    """Return the reference to follow next at ``path``, if any."""
    value = document.get(path)
    if isinstance(value, dict) and BASE in value:
        path, value = (*path, BASE), value[BASE]
        if not isinstance(value, str):
            message = f"must be the name of a profile, got {shown(value)}"
            raise _Reference(kind, "", document.mark(path), path).error(message)
    elif not isinstance(value, str) or (kind == "model" and value.endswith(".json")):
        return None
    return _Reference(kind, value, document.mark(path), path)


def _profile(file: Path, reference: _Reference) -> Document:
    try:
        return read_document(file)
    except DocumentError as error:
        raise reference.error(str(error)) from None


def _based(kind: str, profile: Document, own: Document) -> Document:
    """Return ``profile`` changed by the keys of ``own``; a bare name changes nothing."""
    if not isinstance(own.data, dict):
        return profile
    own = _without_base(own)
    for field in REFERENCES.get(kind, {}):
        if isinstance(own.data.get(field), dict):
            profile = _opened(profile, field, replaced=BASE in own.data[field])
    return merge(profile, own)


def _without_base(own: Document) -> Document:
    return dataclasses.replace(
        own,
        data={key: value for key, value in own.data.items() if key != BASE},
        # The profile may have a base of its own, whose mark has to stay.
        marks={path: mark for path, mark in own.marks.items() if path[:1] != (BASE,)},
    )


def _opened(profile: Document, field: str, *, replaced: bool) -> Document:
    """Return ``profile`` ready for keys to be merged into the profile that ``field`` refers to.

    Keys without a base change whatever the profile names there; with one, nothing of it stays.
    """
    if replaced:
        return graft(profile, (field,), Document(data=None, marks={(): profile.mark((field,))}))
    if not isinstance(profile.get((field,)), str):
        return profile
    named = profile.part((field,))
    opened = Document(data={BASE: named.data}, marks=dict.fromkeys([(), (BASE,)], named.mark(())))
    return graft(profile, (field,), opened)


def _shipped_folder(kind: str) -> Path:
    room, *rest = Path(_folder(kind)).parts
    return data_folder(room).joinpath(*rest)


def _folder(kind: str) -> str:
    if kind not in KINDS:
        near = did_you_mean(kind, tuple(KINDS))
        parts = (f"unknown kind of profile {shown(kind)}", near, f"kinds: {', '.join(KINDS)}")
        raise SimulatorError("; ".join(filter(None, parts)))
    return KINDS[kind]
