"""Makes wheels of what is not one: a project's folder, a source distribution, a git repository."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from flowdapt_installer import programs
from flowdapt_installer.errors import ChangeFailed

GIT = re.compile(
    r"git\+(?P<url>[^#@]+(?:@[^#@/]*/[^#@]*)?)(?:@(?P<ref>[^#]+))?(?:#(?:.*&)?subdirectory=(?P<folder>[^&]+))?"
)


async def built(source: Path) -> tuple[str, bytes]:
    """Build a project's folder or a source distribution; return the wheel's name and content.

    :raises ChangeFailed: it cannot be built; the message has the end of what the build said
    """
    with tempfile.TemporaryDirectory(prefix="flowdapt-build-") as out:
        options = ["--wheel", "--quiet", "--python", sys.executable, "--out-dir", out]
        try:
            await programs.uv("build", *options, str(source.absolute()))
        except programs.ProgramFailed as error:
            said = "\n".join(error.said.splitlines()[-LINES:])
            raise ChangeFailed(f"{source} cannot be built: {said}") from None
        (wheel,) = Path(out).glob("*.whl")
        return wheel.name, wheel.read_bytes()


LINES = 20  #: of what a build said that are shown


async def cloned(url: str) -> tuple[str, bytes]:
    """Build what a git repository holds; return the wheel's name and content.

    :param url: such as ``git+https://host/project@ref#subdirectory=folder``
    :raises ChangeFailed: it cannot be had, or built
    """
    found = GIT.fullmatch(url)
    if found is None:
        raise ChangeFailed(f"{url!r} is no address of git, such as git+https://host/project@ref")
    with tempfile.TemporaryDirectory(prefix="flowdapt-git-") as folder:
        place = Path(folder, "source")
        await programs.run(["git", "clone", "--quiet", "--", found["url"], str(place)])
        if found["ref"]:
            checkout = ["git", "-C", str(place), "checkout", "--quiet", "--detach", found["ref"]]
            await programs.run(checkout)
        project = (place / (found["folder"] or "")).resolve()
        if place.resolve() not in (project, *project.parents):
            raise ChangeFailed(f"{found['folder']!r} is outside of the repository")
        return await built(project)


def is_git(text: str) -> bool:
    """Tell whether a text is meant to be an address of git."""
    return text.startswith("git+")
