"""Loading: a document, overrides and profiles in; a checked scenario out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulator.catalog import Catalog
from simulator.documents import (
    Document,
    Mark,
    graft,
    override,
    read_document,
    validate,
)
from simulator.errors import DocumentError, MisfitError, Problem, ScenarioError
from simulator.scenario.checks import findings
from simulator.scenario.scenario import Scenario
from simulator.workload.huggingface import read_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.documents import FieldPath, Source

PROFILES: Final = "profiles"
"""Key of a scenario that names a directory of the user's own profiles."""
REFERENCES: Final[Mapping[FieldPath, str]] = {
    ("model",): "model",
    ("cluster",): "cluster",
    ("software",): "software",
}
"""Fields of a scenario that refer to profiles, and their kinds."""
SHORTHANDS: Final = ("accelerator", "node", "fabric")
"""Parts of the cluster whose fields an override may name without ``cluster.`` before them."""


def load_scenario(
    path: Path | str, *, overrides: Sequence[str] = (), profiles: Sequence[Path] = ()
) -> Scenario:
    """Return the scenario in the YAML file ``path``, its profiles resolved.

    Parameters
    ----------
    path
        A scenario file.
    overrides
        Fields to change, each ``dotted.key=value`` with the value in YAML. They apply after
        profiles are filled in, so that a field of a profile can be changed too.
    profiles
        Directories of profiles that extend or override the shipped ones; a scenario may name
        one more under ``profiles`` (relative to its own file).

    Raises
    ------
    DocumentError
        If a file cannot be read.
    ScenarioError
        With every mistake found, each with file, line and field.
    """
    document, directories = read_scenario(Path(path), profiles)
    return scenario_of(document, Catalog(directories), overrides)


def load_sources(
    path: Path | str, *, overrides: Sequence[str] = (), profiles: Sequence[Path] = ()
) -> Mapping[FieldPath, Source]:
    """Return on what authority the numbers of a scenario and its profiles stand, by field.

    Parameters
    ----------
    path, overrides, profiles
        As `load_scenario`.

    Raises
    ------
    DocumentError, ScenarioError
        As `load_scenario`, but for mistakes in values.
    """
    document, directories = read_scenario(Path(path), profiles)
    return resolved(document, Catalog(directories), overrides).sources


def scenario_of(document: Document, catalog: Catalog, overrides: Sequence[str] = ()) -> Scenario:
    """Return the scenario in ``document``.

    Raises
    ------
    ScenarioError
        With every mistake found, each with file, line and field.
    MisfitError
        If there is none, but fields do not go together: with every broken rule.
    """
    try:
        document = resolved(document, catalog, overrides)
    except ScenarioError as error:
        found = (*error.problems, *_other_problems(document, overrides))
        raise ScenarioError(list(dict.fromkeys(found))) from None
    scenario = validate(Scenario, document)
    problems = [
        Problem(where=str(_mark(document, field)), path=field, message=message)
        for field, message in findings(scenario)
    ]
    if problems:
        raise MisfitError(problems)
    return scenario


def full_key(key: str) -> str:
    """Return the dotted path that an override's key means: ``fabric.x`` is ``cluster.fabric.x``."""
    return f"cluster.{key}" if key.partition(".")[0] in SHORTHANDS else key


def resolved(document: Document, catalog: Catalog, overrides: Sequence[str] = ()) -> Document:
    """Return ``document`` with overrides applied and every reference filled in.

    Raises
    ------
    ScenarioError
        If an override is malformed or a reference leads nowhere.
    """
    pairs = [_split_override(text) for text in overrides]
    # A whole reference is replaced before it is followed, a field of a profile after.
    for key, value in pairs:
        if "." not in key:
            document = override(document, key, value)
    document = _with_shorthands(document)
    document = _with_images(_with_model(catalog.resolve_all(document, REFERENCES)))
    for key, value in pairs:
        if "." in key:
            document = override(document, key, value)
    return catalog.resolve_all(document, REFERENCES)


def read_scenario(path: Path, profiles: Sequence[Path]) -> tuple[Document, tuple[Path, ...]]:
    """Return the document of the scenario in ``path``, and all directories of profiles.

    The document comes without its key ``profiles``.

    Raises
    ------
    DocumentError, ScenarioError
        If the file cannot be read, or ``profiles`` is no directory.
    """
    document = read_document(path)
    named = document.get((PROFILES,))
    if named is None:
        return document, tuple(profiles)
    if not isinstance(named, str):
        problem = Problem(
            where=str(document.mark((PROFILES,))), path=PROFILES, message="must be a directory"
        )
        raise ScenarioError([problem])
    rest = {key: value for key, value in document.data.items() if key != PROFILES}
    return dataclasses.replace(document, data=rest), (*profiles, path.parent / named)


def _split_override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        message = f"expected KEY=VALUE such as layout.tensor=4, got {text[:80]!r}"
        raise ScenarioError([Problem(where="--set", path="", message=message)])
    return full_key(key.strip()), value


def _other_problems(document: Document, overrides: Sequence[str]) -> list[Problem]:
    """Return the mistakes outside the model, the cluster and the software.

    Those of a document whose references lead nowhere, so that they are reported together.
    """
    referred = tuple(str(path[0]) for path in REFERENCES)
    try:
        for key, value in map(_split_override, overrides):
            if key.split(".")[0] not in referred:
                document = override(document, key, value)
        validate(Scenario, _with_shorthands(document))
    except ScenarioError as error:
        return [p for p in error.problems if p.path.split(".")[0] not in referred]
    return []


def _with_shorthands(document: Document) -> Document:
    """Write ``recompute: full`` out as the mapping that it stands for."""
    short = document.get(("recompute",))
    if not isinstance(short, str):
        return document
    mark = document.mark(("recompute",))
    marks: dict[tuple[str | int, ...], Mark] = {(): mark, ("mode",): mark}
    return graft(document, ("recompute",), Document(data={"mode": short}, marks=marks))


def _with_model(document: Document) -> Document:
    """Put the model of a Hugging Face ``config.json`` in place of its path."""
    name = document.get(("model",))
    if not isinstance(name, str):
        return document
    mark = document.mark(("model",))
    path = Path(name) if mark.line is None else Path(mark.file).parent / name
    try:
        model = read_config(path)
    except DocumentError as error:
        problem = Problem(where=str(mark), path="model", message=str(error))
        raise ScenarioError([problem]) from None
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return graft(document, ("model",), Document(data=fields, marks={(): mark}))


def _with_images(document: Document) -> Document:
    """Count the images of a convolutional network as sequences of one."""
    model, batch = document.get(("model",)), document.get(("batch",))
    takes_images = isinstance(model, dict) and "image_size" in model
    if not takes_images or not isinstance(batch, dict) or "sequence_length" in batch:
        return document
    mark = document.mark(("batch",))
    return graft(document, ("batch", "sequence_length"), Document(data=1, marks={(): mark}))


def _mark(document: Document, field: str) -> Mark:
    return document.mark(tuple(field.split(".")))
