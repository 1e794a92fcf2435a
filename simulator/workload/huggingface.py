"""A Hugging Face ``config.json`` as a `Transformer`.

Dense decoders whose layers are all alike are known (`simulator.workload.architectures`);
anything else is refused by name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from simulator import units
from simulator.errors import DocumentError, ScenarioError
from simulator.workload.architectures import ARCHITECTURES, REFUSED, ConfigReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.workload.transformer import Transformer

LARGEST_FILE: Final = units.MIB
"""No model configuration is larger [B]."""


def read_config(path: Path) -> Transformer:
    """Return the model of a ``config.json``, named after its folder (or the file itself).

    Raises
    ------
    DocumentError
        If the file cannot be read, is larger than 1 MiB or is not a JSON object.
    ScenarioError
        If the architecture is not known or the configuration is incomplete or not supported.
    """
    document = _json_object(path)
    folder = path.absolute().parent.name
    name = folder if path.stem == "config" and folder else path.stem
    return from_config(document, name, where=str(path))


def from_config(config: Mapping[str, object], name: str, *, where: str = "") -> Transformer:
    """Return the model that a parsed ``config.json`` describes.

    Parameters
    ----------
    config : Mapping[str, object]
        The parsed document.
    name : str
        Name of the model.
    where : str
        The document's file, for messages.

    Raises
    ------
    ScenarioError
        If the architecture is not known or the configuration is incomplete or not supported;
        every problem at once.
    """
    reader = ConfigReader(config, name, where)
    architecture = _architecture(reader)
    if architecture is None:
        raise ScenarioError(reader.problems)
    model = ARCHITECTURES[architecture](reader)
    reader.refuse_mixtures()
    if reader.problems:
        raise ScenarioError(reader.problems)
    return model


def _architecture(reader: ConfigReader) -> str | None:
    """Return the known architecture that the configuration names; none after noting why not."""
    known = ", ".join(sorted(ARCHITECTURES))
    named = reader.config.get("architectures")
    if not (isinstance(named, list) and len(named) == 1 and isinstance(named[0], str)):
        reader.refuse("architectures", f"should be a list of one name; known: {known}")
        return None
    if named[0] in ARCHITECTURES:
        return named[0]
    reason = REFUSED.get(named[0], "is not a known architecture")
    reader.refuse("architectures", f"{named[0][:80]!r}: {reason}; known: {known}")
    return None


def _json_object(path: Path) -> dict[str, object]:
    content = _content(path)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DocumentError(f"{path}: not a JSON object but a {type(document).__name__}")
    return document


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise DocumentError(f"{path}: cannot be read: {error}") from error
    if len(content) > LARGEST_FILE:
        raise DocumentError(f"{path}: larger than 1 MiB: not a model configuration")
    return content
