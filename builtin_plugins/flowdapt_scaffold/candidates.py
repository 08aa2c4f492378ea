"""Reads what is to be checked, a project or a wheel, as a distribution that is not installed."""

from __future__ import annotations

import sys
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowdapt.errors import InvalidInput
from flowdapt.plugins import GROUP

UNKNOWN = "0+unknown"  #: the version of a project that only its build knows
PROJECT = "pyproject.toml"


@dataclass
class Candidate:
    """A distribution that may be a plugin.

    :param site: the folder with its metadata, such as ``my_plugin-1.0.dist-info``
    :param roots: folders to import its modules from
    :param problems: what is wrong already, each with its place
    """

    site: Path
    roots: tuple[Path, ...]
    problems: list[tuple[str, str]] = field(default_factory=list)


def candidate(path: Path, scratch: Path) -> Candidate:
    """Return what is at a path.

    :param scratch: an empty folder for what has to be written
    :raises InvalidInput: neither a project nor a wheel
    """
    if path.is_dir():
        return _project(path.absolute(), scratch)
    if not path.exists():
        raise InvalidInput(f"{path} is not there; name a project's folder or a wheel")
    if path.suffix == ".whl":
        return _wheel(path, scratch)
    raise InvalidInput(f"{path} is neither a project's folder nor a wheel")


# A wheel -------------------------------------------------------------------------------------


def _wheel(path: Path, scratch: Path) -> Candidate:
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        tags = parse_wheel_filename(path.name)[3]
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch)
    except InvalidWheelFilename as error:
        raise InvalidInput(f"{path} is not named like a wheel: {error}") from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise InvalidInput(f"{path} cannot be read as a wheel: {error}") from None
    if not list(scratch.glob("*.dist-info/METADATA")):
        raise InvalidInput(f"{path} is no wheel: it has no METADATA")
    found = Candidate(scratch, (scratch,))
    if tags.isdisjoint(sys_tags()):
        fact = f"the wheel is for {', '.join(sorted(map(str, tags)))}, and not for this Python"
        found.problems.append((path.name, fact))
    return found


# A project -----------------------------------------------------------------------------------


def _project(folder: Path, scratch: Path) -> Candidate:
    """Take the metadata from ``pyproject.toml``, so that nothing has to be built."""
    about = _about(folder / PROJECT)
    module = about["name"].replace("-", "_").replace(".", "_")
    version = about.get("version", UNKNOWN)
    site = scratch / f"{module}-{version}.dist-info"
    site.mkdir()
    (site / "METADATA").write_text(_metadata(about, version), "utf-8")
    entries = about.get("entry-points", {}).get(GROUP, {})
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (site / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]), "utf-8")
    found = Candidate(scratch, tuple(f for f in (folder / "src", folder) if f.is_dir()))
    for name, value in entries.items():
        package = str(value).partition(":")[0].partition(".")[0].strip()
        places = [root / package for root in found.roots]
        if not any(p.is_dir() or p.with_suffix(".py").is_file() for p in places):
            fact = f"names the module {package!r}, which is not in {folder} or its folder src"
            found.problems.append((f"entry point {name!r}", fact))
    return found


def _about(file: Path) -> dict[str, Any]:
    """Return the table ``project``."""
    try:
        about = tomllib.loads(file.read_text("utf-8")).get("project")
    except FileNotFoundError:
        raise InvalidInput(f"{file.parent} is no project: it has no {file.name}") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from None
    if not isinstance(about, dict) or not isinstance(about.get("name"), str):
        advice = "build a wheel, and check that: uv build --wheel"
        raise InvalidInput(f"{file} has no table [project] with a name; {advice}")
    dynamic = {"dependencies", "entry-points"} & {*about.get("dynamic", ())}
    if dynamic:
        advice = "build a wheel, and check that: uv build --wheel"
        raise InvalidInput(f"{file} leaves {', '.join(sorted(dynamic))} to its build; {advice}")
    return about


def _metadata(about: dict[str, Any], version: str) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {about['name']}", f"Version: {version}"]
    if needed := about.get("requires-python"):
        lines.append(f"Requires-Python: {needed}")
    lines += [f"Requires-Dist: {line}" for line in about.get("dependencies", ())]
    return "\n".join([*lines, ""])


def python_problem(needed: str | None) -> str:
    """Say why a distribution does not go with this Python, or nothing where it does."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    present = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = not needed or SpecifierSet(needed).contains(present, prereleases=True)
    except InvalidSpecifier:
        return f"requires-python is {needed!r}, and should be such as '>=3.11'"
    return "" if fits else f"requires Python {needed}, and this is {present}"
