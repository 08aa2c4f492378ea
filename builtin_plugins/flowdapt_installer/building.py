"""Makes wheels of what is not one: a project's folder, a source distribution, a git repository."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from flowdapt_installer import programs
from flowdapt_installer.errors import ChangeFailed

LINES = 20  #: of what a build said that are shown

#: git+URL, perhaps @REF, perhaps #subdirectory=FOLDER; a user before the host has an @, too
_GIT = re.compile(
    r"git\+(?P<url>[^#@]+(?:@[^#@/]*[/:][^#@]*)?)"
    r"(?:@(?P<ref>[^#]+))?(?:#(?:[^#]*&)?subdirectory=(?P<folder>[^&#]+))?"
)


async def built(source: Path) -> tuple[str, bytes]:
    """Build a project's folder or a source distribution; return the wheel's name and content.

    :raises ChangeFailed: it cannot be built; the message has the end of what the build said
    """
    with tempfile.TemporaryDirectory(prefix="flowdapt-build-") as out:
        options = ["--wheel", "--quiet", "--python", sys.executable, "--out-dir", out]
        try:
            await programs.uv("build", *options, str(source))
        except programs.ProgramFailed as error:
            said = "\n".join(error.said.splitlines()[-LINES:])
            raise ChangeFailed(f"{source} cannot be built: {said}") from None
        return _wheel_in(out)


def _wheel_in(folder: str) -> tuple[str, bytes]:
    (wheel,) = Path(folder).glob("*.whl")
    return wheel.name, wheel.read_bytes()


async def cloned(url: str) -> tuple[str, bytes]:
    """Build what a git repository holds; return the wheel's name and content.

    :param url: such as ``git+https://host/project@ref#subdirectory=folder``
    :raises ChangeFailed: it cannot be had, or built
    """
    found = _GIT.fullmatch(url)
    if found is None:
        raise ChangeFailed(f"{url!r} is no address of git, such as git+https://host/project@ref")
    with tempfile.TemporaryDirectory(prefix="flowdapt-git-") as folder:
        place = os.path.join(folder, "source")
        await programs.run(["git", "clone", "--quiet", "--", found["url"], place])
        if found["ref"]:
            if found["ref"].startswith("-"):
                raise ChangeFailed(f"{found['ref']!r} is no branch, tag or commit")
            checkout = ["git", "-C", place, "checkout", "--quiet", "--detach", found["ref"]]
            await programs.run(checkout)
        return await built(_inside(Path(place), found["folder"] or ""))


def _inside(place: Path, folder: str) -> Path:
    project = (place / folder).resolve()
    if not project.is_relative_to(place.resolve()):
        raise ChangeFailed(f"{folder!r} is outside of the repository")
    return project


def is_git(text: str) -> bool:
    """Tell whether a text is meant to be an address of git."""
    return text.startswith("git+")
