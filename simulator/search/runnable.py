"""A layout that was found as a scenario that ``simulator run`` plays."""

from __future__ import annotations

import io
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from simulator.catalog import Catalog
from simulator.scenario.loading import PROFILES, REFERENCES, read_scenario, resolved
from simulator.search.candidates import scenario_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.scenario import Scenario
    from simulator.search.candidates import Candidate


def runnable(
    path: Path,
    scenario: Scenario,
    candidate: Candidate,
    step_time: float,
    *,
    overrides: Sequence[str] = (),
    profiles: Sequence[Path] = (),
) -> str:
    """Return the YAML of a scenario with the layout of a candidate, its overrides written in.

    Shipped profiles keep their names; what overrides, the user's profiles or files change is
    written out, so that the text stands alone.

    Parameters
    ----------
    path
        The scenario that was searched.
    scenario
        The same, loaded.
    candidate
        The layout.
    step_time
        What it takes [s], for the comment at the top.
    overrides, profiles
        As the scenario was loaded with.
    """
    document, directories = read_scenario(path, profiles)
    whole = resolved(document, Catalog(directories), overrides).data
    keys = {text.partition("=")[0].strip().partition(".")[0] for text in overrides}
    data: dict[str, Any] = {}
    for key, value in whole.items():
        if key in {PROFILES, "space"}:
            continue
        written = document.data.get(key)
        named = (key,) in REFERENCES and isinstance(written, str)
        own = named and written in Catalog().names(REFERENCES[key,])
        # An override may name a part of a profile without the profile before it.
        changed = key in keys or not keys <= whole.keys()
        data[key] = written if own and not directories and not changed else value
    data |= _layout(scenario_of(scenario, candidate))
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(_plain(data), text)
    return f"# The best layout of a search: a step of {step_time!r} s.\n{text.getvalue()}"


def _layout(scenario: Scenario) -> dict[str, Any]:
    """Return what a candidate decides, as a scenario's YAML has it."""
    layout = asdict(scenario.layout)
    if layout["layers"] is None:
        del layout["layers"]
    return {
        "accelerators": scenario.accelerators,
        "layout": layout,
        "batch": asdict(scenario.batch),
        "schedule": scenario.schedule,
        "recompute": asdict(scenario.recompute),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return a value as mappings, lists, text and numbers alone."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
