"""Decides which distributions a plugin set has, with uv, before anything is changed."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowdapt_sets.sets import Wheel
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from flowdapt_installer import environments, programs
from flowdapt_installer.environments import Provided
from flowdapt_installer.errors import ChangeFailed
from flowdapt_installer.warehouse import Warehouse

LOCK = "pylock.toml"  #: what uv writes, and reads first
_UNSOLVED = "No solution found when resolving dependencies"


@dataclass(frozen=True, slots=True)
class Locked:
    """A distribution that was chosen, and where it can be had.

    :param url: of a wheel, or of a source distribution; or a path
    :param sha256: of what is there, where that is known
    :param source: it has to be built
    :param git: it is a repository, at a certain commit
    """

    name: str
    version: str
    url: str
    sha256: str = ""
    source: bool = False
    git: bool = False


async def resolved(
    requirements: Sequence[str],
    there: Mapping[str, Provided],
    *,
    keep: Sequence[Wheel],
    warehouse: Warehouse,
) -> list[Locked]:
    """Return what a set with these requirements has, beside what every node has already.

    :param there: that, by normalized names
    :param keep: which versions are to stay as they are, if that is possible
    :raises ChangeFailed: nothing goes with the requirements, or with flowdapt; uv says why
    """
    with tempfile.TemporaryDirectory(prefix="flowdapt-resolve-") as name:
        folder = Path(name)
        _lay_out(folder, there.values(), requirements, keep, warehouse)
        options = ["--format", "pylock.toml", "--quiet", "--no-header", "--python", sys.executable]
        files = ["--constraints", "constraints.txt", "--find-links", "links"]
        for place in os.environ.get("UV_FIND_LINKS", "").split(","):  # which ours goes before
            files += ["--find-links", _absolute(place)] if place else []
        try:
            await programs.uv(
                "pip", "compile", "wanted.in", "-o", LOCK, *options, *files, folder=folder
            )
        except programs.ProgramFailed as error:
            if _UNSOLVED in error.said:
                raise ChangeFailed(explained(error.said, there)) from None
            raise ChangeFailed(f"plugins cannot be resolved: {_plain(error.said)}") from None
        packages = tomllib.loads((folder / LOCK).read_text()).get("packages", [])
    return [_locked(one) for one in packages if canonicalize_name(one["name"]) not in there]


def _lay_out(
    folder: Path,
    there: Iterable[Provided],
    requirements: Sequence[str],
    keep: Iterable[Wheel],
    house: Warehouse,
) -> None:
    """Write what uv reads. A lock that is there already is what it departs from only if it must."""
    links = folder / "links"
    links.mkdir()
    pins, lock = [], ['lock-version = "1.0"\ncreated-by = "flowdapt"\n']
    for one in there:
        environments.stand_in(one, links)
        pins.append(f"{one.name}=={one.version}")
    for wheel in keep:
        os.symlink(house.path(wheel).absolute(), links / wheel.file)
        lock.append(f'[[packages]]\nname = "{wheel.name}"\nversion = "{wheel.version}"')
        file = f'path = "links/{wheel.file}", hashes = {{ sha256 = "{wheel.sha256}" }}'
        lock.append(f'wheels = [{{ name = "{wheel.file}", {file} }}]\n')
    (folder / "constraints.txt").write_text("\n".join(pins))
    (folder / "wanted.in").write_text("\n".join(requirements))
    if len(lock) > 1:
        (folder / LOCK).write_text("\n".join(lock))


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)


def explained(said: str, there: Mapping[str, Provided]) -> str:
    """Return what matters of uv's explanation, in one paragraph, and what could be done."""
    _, _, cause = said.partition(_UNSOLVED)
    text = _plain(re.sub(r"^[\s:╰─▶]*(cause:|hint:)?", "", cause.strip(), count=1))
    text = re.sub(r"all versions of ", "", text)
    text = re.sub(
        r",? we can conclude that (your requirements are unsatisfiable)\.?", r", \1.", text
    )
    ours = [name for name in there if re.search(rf"\b{name}==", text)]
    if ours:
        version = there[ours[0]].version
        text += f" Every node has {ours[0]} {version}, which a plugin cannot replace."
    return text


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[╰─▶]", "", text).split()).removeprefix("error: ")


def _locked(package: Mapping[str, Any]) -> Locked:
    name, version = canonicalize_name(package["name"]), str(package.get("version", ""))
    if "vcs" in package:
        vcs = package["vcs"]
        folder = f"#subdirectory={vcs['subdirectory']}" if vcs.get("subdirectory") else ""
        url = f"git+{vcs['url']}@{vcs['commit-id']}{folder}"
        return Locked(name, version, url, source=True, git=True)
    if "directory" in package:
        return Locked(name, version, package["directory"]["path"], source=True)
    if "archive" in package:
        archive = package["archive"]
        place = archive.get("url") or archive["path"]
        built = str(place).partition("#")[0].endswith(".whl")
        return Locked(name, version, place, _hash(archive), source=not built)
    best = _best(package.get("wheels", []))
    if best is not None:
        return Locked(name, version, _place(best), _hash(best))
    if "sdist" not in package:
        raise ChangeFailed(f"{name} {version} has no wheel for this Python and this system")
    return Locked(name, version, _place(package["sdist"]), _hash(package["sdist"]), source=True)


def _best(wheels: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the wheel that fits best; of equals, the one that is nearest."""
    ranks = {tag: rank for rank, tag in enumerate(sys_tags())}
    fitting = []
    for wheel in wheels:
        file = wheel.get("name") or _place(wheel).rpartition("/")[2]
        try:
            *_, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue
        if mine := [ranks[tag] for tag in tags if tag in ranks]:
            fitting.append((min(mine), not _place(wheel).startswith(("file:", "/")), wheel))
    return min(fitting, key=lambda one: one[:2])[2] if fitting else None


def _place(file: Mapping[str, Any]) -> str:
    return str(file.get("url") or file["path"])


def _hash(file: Mapping[str, Any]) -> str:
    return str(file.get("hashes", {}).get("sha256", ""))
