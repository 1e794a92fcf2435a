"""``simulator show``."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulator.catalog import KINDS, Catalog
from simulator.documents import did_you_mean, dotted, shown
from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulator.documents import Document, FieldPath, Source

PLURALS: Final[Mapping[str, str]] = MappingProxyType(
    {kind if kind in {"software", "kernels"} else f"{kind}s": kind for kind in KINDS}
)
"""Kinds as the command line lists them."""

FACTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "accelerator": {
            "bf16 TFLOP/s": "peak_flop_rate_tflop_per_s.bf16",
            "fp16 TFLOP/s": "peak_flop_rate_tflop_per_s.fp16",
            "memory GB": "memory_gb",
            "memory TB/s": "memory_bandwidth_tb_per_s",
        },
        "node": {
            "accelerators": "accelerators",
            "joined by": "scale_up",
            "GB/s": "bandwidth_gb_per_s",
            "interfaces": "nics",
        },
        "fabric": {"interface Gbit/s": "nic_gbit_per_s", "rails": "rail_optimised"},
        "cluster": {
            "accelerator": "accelerator.name",
            "node": "node.name",
            "fabric": "fabric.name",
            "largest": "largest",
        },
        "software": {"name": "name"},
        "kernels": {"name": "name"},
        "model": {
            "layers": "layers",
            "hidden": "hidden",
            "heads": "heads",
            "kv heads": "kv_heads",
            "vocabulary": "vocabulary",
        },
        "scenario": {
            "model": "model",
            "cluster": "cluster",
            "accelerators": "accelerators",
            "schedule": "schedule",
        },
    }
)
"""Columns of the list of a kind, and the field that each shows."""


def show_profiles(what: str, profiles: Sequence[Path]) -> None:
    """Print the profiles of a kind, or one profile with sources.

    Raises
    ------
    SimulatorError
        If ``what`` is neither a kind nor a profile; the message has near misses.
    """
    catalog = Catalog(tuple(profiles))
    kind = PLURALS.get(what, what)
    table = listing(catalog, kind) if kind in KINDS else profile(catalog, *found(catalog, what))
    Console().print(table)


def listing(catalog: Catalog, kind: str) -> Table:
    """Return the profiles of a kind, a line of key facts each."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(kind, no_wrap=True)
    for heading in FACTS[kind]:
        table.add_column(heading, overflow="fold")
    for name in catalog.names(kind):
        document = catalog.document(kind, name)
        table.add_row(name, *(_fact(document, field) for field in FACTS[kind].values()))
    return table


def profile(catalog: Catalog, kind: str, name: str) -> Table:
    """Return every key of a profile with its value, status and source."""
    document = catalog.document(kind, name)
    title = f"{kind} {name}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("field", "value", "status", "source"):
        table.add_column(column, overflow="fold")
    for path, value in _leaves(document.data, ()):
        source = document.sources.get(path)
        status = source.status.value if source and source.status else ""
        table.add_row(dotted(path), Text(_words(value)), status, Text(_authority(source)))
    return table


def _authority(source: Source | None) -> str:
    return "; ".join(filter(None, (source.text, source.note))) if source else ""


def _fact(document: Document, field: str) -> Text:
    value = document.get(tuple(field.split(".")))
    if isinstance(value, dict):  # written out where another profile would be named
        value = value.get("name", "own")
    return Text("-" if value is None else _words(value))


def _words(value: object) -> str:
    """Return a value as YAML may write it: text without quotes, ``true``, ``[1, 2]``."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def found(catalog: Catalog, what: str) -> tuple[str, str]:
    """Return kind and name of ``NAME`` or ``KIND/NAME``.

    Raises
    ------
    SimulatorError
        If there is no such profile, or there are several; the message has near misses.
    """
    kind, slash, name = what.partition("/")
    kind = PLURALS.get(kind, kind)
    if slash and kind in KINDS:
        return kind, name
    holders = [kind for kind in KINDS if what in catalog.names(kind)]
    if len(holders) == 1:
        return holders[0], what
    if holders:
        choices = " or ".join(f"{kind}/{what}" for kind in holders)
        raise SimulatorError(f"{shown(what)} is the name of several profiles: say {choices}")
    known = [*PLURALS, *(name for kind in KINDS for name in catalog.names(kind))]
    parts = (
        f"nothing is called {shown(what)}",
        did_you_mean(what, known),
        f"kinds to list: {', '.join(PLURALS)}",
    )
    raise SimulatorError("; ".join(filter(None, parts)))


def _leaves(value: Any, path: FieldPath) -> Iterator[tuple[FieldPath, Any]]:  # noqa: ANN401 - plain data
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value
