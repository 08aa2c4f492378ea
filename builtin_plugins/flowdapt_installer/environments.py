"""What every node has already: flowdapt, and the distributions that it needs.

A plugin set never brings these. What a worker imported before it serves a set, and what Ray and
Dask import before they unpickle anything, would otherwise meet in two versions.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

KERNEL = "flowdapt"


@dataclass(frozen=True, slots=True)
class Provided:
    """A distribution that is there, with what it says that it needs."""

    name: str
    version: str
    requires: tuple[str, ...]


@cache  # what is installed beside a process does not change while that lives
def provided(extra: str = "") -> dict[str, Provided]:
    """Return flowdapt and all that it needs, by normalized names, in the versions that are here.

    :param extra: of flowdapt, which every node has, too; those of others need not be on any node
    """
    found: dict[str, Provided] = {}
    waiting = [(KERNEL, frozenset[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        lines = tuple(there.requires or ())
        found[name] = Provided(name, there.version, lines)
        if name == KERNEL:
            extras = frozenset({extra} - {""})
        waiting += [
            (canonicalize_name(r.name), frozenset(r.extras)) for r in _needed(lines, extras)
        ]
    return found


@cache
def files(extra: str = "") -> frozenset[str]:
    """Return the modules of what every node has, and of Python: a set goes before them."""
    found = set[str]()
    for name in provided(extra):
        found |= {str(f) for f in metadata.distribution(name).files or () if f.suffix == ".py"}
    entries = metadata.distribution(KERNEL).entry_points  # one that is edited lists no files
    ours = {entry.module.partition(".")[0] for entry in entries} | {KERNEL, "flowdapt_sets"}
    for name in (*ours, *sys.stdlib_module_names):
        found |= {f"{name}/__init__.py", f"{name}.py"}
    return frozenset(found)


def _needed(lines: tuple[str, ...], extras: frozenset[str]) -> Iterator[Requirement]:
    here: dict[str, Any] = {**default_environment()}
    for line in lines:
        try:
            needed = Requirement(line)
        except InvalidRequirement:  # no installer heeds it either
            continue
        marker = needed.marker
        if marker is None or any(marker.evaluate({**here, "extra": e}) for e in ("", *extras)):
            yield needed


def stand_in(one: Provided, folder: Path) -> None:
    """Write a wheel without content that says what a distribution is and needs.

    So resolving asks no index for what is there, and knows a flowdapt that no index has.
    """
    stem = f"{one.name.replace('-', '_')}-{one.version}"
    lines = [f"Metadata-Version: 2.1\nName: {one.name}\nVersion: {one.version}"]
    lines += [f"Provides-Extra: {extra}" for extra in sorted(_extras(one))]
    lines += [f"Requires-Dist: {line}" for line in one.requires]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")
        about = (
            "Wheel-Version: 1.0\nGenerator: flowdapt\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{stem}.dist-info/WHEEL", about)
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


def _extras(one: Provided) -> set[str]:
    return set(metadata.distribution(one.name).metadata.get_all("Provides-Extra") or ())
