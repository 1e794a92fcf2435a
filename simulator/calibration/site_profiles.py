"""Profiles of a fitted site, as YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.units import GIGA, MIB, MICRO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.calibration.collectives import Fit
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import CollectiveLine


def profile_texts(fit: Fit, base: Cluster, name: str, source: str) -> dict[str, str]:
    """Return the profiles of a fitted site as YAML, by path below a profile directory.

    They are based on the profiles of ``base``; ``source`` tells where the curves come from.
    """
    texts = {}
    parts = {"node": base.node.name, "fabric": base.fabric.name}
    for scope, folder in (("node", "nodes"), ("fabric", "fabrics")):
        body = _profile_body(fit, scope, source)
        if body:
            texts[f"{folder}/{name}.yaml"] = f"base: {parts[scope]}\nname: {name}\n{body}"
            parts[scope] = name
    chosen = "".join(f"{scope}: {profile}\n" for scope, profile in parts.items())
    texts[f"clusters/{name}.yaml"] = f"base: {base.name}\nname: {name}\n{chosen}"
    return texts


def _profile_body(fit: Fit, scope: str, source: str) -> str:
    note = f"source: {_quoted(source)}, status: fitted"
    head = ""
    if scope == "fabric" and fit.efficiency is not None:
        head = f"efficiency: {{value: {fit.efficiency:.4g}, {note}}}\n"
    lines = {kind: line for (place, kind), line in fit.lines.items() if place == scope}
    if scope not in fit.launch and not lines:
        return head
    body = head + "collectives:\n"
    if scope in fit.launch:
        body += f"  launch_us: {{value: {fit.launch[scope] / MICRO:.4g}, {note}}}\n"
    if lines:
        body += "  lines:\n"
    for kind, line in lines.items():
        body += f"    {kind}:\n      value:\n{line_text(line)}"
        body += f"      source: {_quoted(source)}\n      status: fitted\n"
    return body


def line_text(line: CollectiveLine) -> str:
    """Return the value of a line as YAML; absent numbers as null, which a base's do not outlive."""
    entries: list[tuple[str, str]] = [
        (f"{name}_us", f"{getattr(line, name) / MICRO:.4g}") for name in ("a0", "a1", "b0", "b1")
    ]
    optional: Sequence[tuple[str, float | None, float]] = (
        ("low", line.low, 1.0),
        ("c0_us", line.c0, MICRO),
        ("c1_us", line.c1, MICRO),
        ("middle", line.middle, 1.0),
        ("half_mib", line.half, MIB),
        ("sharpness", line.sharpness, 1.0),
    )
    entries += [
        (key, "null" if value is None else f"{value / unit:.4g}") for key, value, unit in optional
    ]
    if line.bus_bandwidth:
        table = ", ".join(f"{n}: {rate / GIGA:.4g}" for n, rate in line.bus_bandwidth.items())
        entries.append(("bus_bandwidth_gb_per_s", f"{{{table}}}"))
    if line.algorithm:
        entries.append(("algorithm", line.algorithm))
    text = "".join(f"        {key}: {value}\n" for key, value in entries)
    if line.measured:
        text += "        measured_us:\n"
    for group, curve in (line.measured or {}).items():
        points = ", ".join(f"{size}: {time / MICRO:.4g}" for size, time in curve.items())
        text += f"          {group}: {{{points}}}\n"
    return text


def _quoted(text: str) -> str:
    """Return ``text`` as a YAML string."""
    return '"' + text.replace("\\", "/").replace('"', "'") + '"'
