"""``simulator show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.catalog import KINDS, Catalog
from simulator.documents import did_you_mean, dotted, shown
from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.documents import Document, FieldPath

PLURALS = {kind if kind in {"software", "kernels"} else f"{kind}s": kind for kind in KINDS}
"""Kinds as the command line lists them."""
FACTS = {
    "accelerator": ("name", "memory_gb", "memory_bandwidth_tb_per_s"),
    "node": ("name", "accelerators", "bandwidth_gb_per_s", "nics"),
    "fabric": ("nic_gbit_per_s", "rail_optimised"),
    "cluster": ("accelerator.name", "node.name", "fabric.name", "largest"),
    "software": ("name",),
    "kernels": ("name",),
    "model": ("layers", "hidden", "heads", "vocabulary"),
    "scenario": ("name",),
}
"""Fields that the list of a kind shows."""


def show_profiles(what: str, profiles: Sequence[Path]) -> None:
    """Print the profiles of a kind, or one profile with sources.

    Raises
    ------
    SimulatorError
        If ``what`` is neither a kind nor a profile; the message has near misses.
    """
    catalog = Catalog(tuple(profiles))
    console = Console()
    if what in PLURALS:
        console.print(_listing(catalog, PLURALS[what]))
        return
    kind, name = _found(catalog, what)
    document = catalog.document(kind, name)
    table = Table(title=f"{kind} {name}", title_justify="left", box=SIMPLE_HEAD)
    for column in ("field", "value", "status", "source"):
        table.add_column(column, overflow="fold")
    for path, value in _leaves(document.data, ()):
        source = document.sources.get(path)
        status = source.status.value if source and source.status else ""
        table.add_row(dotted(path), shown(value), status, source.text if source else "")
    console.print(table)


def _listing(catalog: Catalog, kind: str) -> Table:
    fields = FACTS[kind]
    table = Table(box=SIMPLE_HEAD)
    for column in ("profile", *fields):
        table.add_column(column, overflow="fold")
    for name in catalog.names(kind):
        document = catalog.document(kind, name)
        table.add_row(name, *(_fact(document, field) for field in fields))
    return table


def _fact(document: Document, field: str) -> str:
    value = document.get(tuple(field.split(".")))
    return "" if value is None else str(value)


def _found(catalog: Catalog, what: str) -> tuple[str, str]:
    """Return kind and name of ``NAME`` or ``KIND/NAME``."""
    kind, slash, name = what.partition("/")
    if slash and (kind in KINDS or kind in PLURALS):
        return PLURALS.get(kind, kind), name
    holders = [kind for kind in KINDS if what in catalog.names(kind)]
    if len(holders) == 1:
        return holders[0], what
    if holders:
        choices = " or ".join(f"{kind}/{what}" for kind in holders)
        raise SimulatorError(f"{shown(what)} is the name of several profiles: say {choices}")
    known = [*PLURALS, *(name for kind in KINDS for name in catalog.names(kind))]
    near = did_you_mean(what, known)
    hint = f"; {near}" if near else ""
    raise SimulatorError(
        f"nothing is called {shown(what)}{hint}; kinds to list: {', '.join(PLURALS)}"
    )


def _leaves(value: Any, path: FieldPath) -> Iterator[tuple[FieldPath, Any]]:  # noqa: ANN401 - plain data
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value
