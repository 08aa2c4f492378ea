"""Makes wheels, for tests of how they are installed."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent


def wheel(
    folder: Path,
    name: str = "orchard",
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
    *,
    requires: Sequence[str] = (),
    entry: str | None = "",
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel, and return it.

    :param files: what it brings, by path; by default a package with a stage that tells its version
    :param entry: the module of its plugin; by default the package; none where it has no plugin
    """
    package = name.replace("-", "_")
    if files is None:
        files = {
            f"{package}/__init__.py": "",
            f"{package}/stages.py": f"def version(): return {version!r}\n",
        }
    about = f"{package}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    content = {path: dedent(text).encode() for path, text in files.items()}
    content[f"{about}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    content[f"{about}/WHEEL"] = f"Wheel-Version: 1.0\nTag: {tag}\n".encode()
    if entry is not None:
        lines = f"[flowdapt.plugins]\n{package} = {entry or package}\n"
        content[f"{about}/entry_points.txt"] = lines.encode()
    record = "".join(f"{path},{_hash(data)},{len(data)}\n" for path, data in content.items())
    content[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{package}-{version}-{tag}.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for path, data in content.items():
            # Of one time, so that the same content is the same wheel.
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data)
    return place


def _hash(data: bytes) -> str:
    found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={found}"
