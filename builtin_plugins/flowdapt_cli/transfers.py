"""Files that go to a server or come from one."""

from __future__ import annotations

from pathlib import Path

from flowdapt_cli.errors import CommandError
from flowdapt_cli.reading.errors import UnreadableFile


def target(folder: Path, name: str, *, force: bool) -> Path:
    """Return where a file goes that a server has under a name.

    :param force: it may be there already
    :raises CommandError: it is there, or the name would lead elsewhere
    """
    if name.startswith(".") or Path(name).name != name:
        raise CommandError(f"{name!r} is no name of a file that could be written to {folder}")
    path = folder / name
    if path.exists() and not force:
        raise CommandError(f"{path} is there already; replace it with --force, or choose --to")
    return path


def content_of(path: Path) -> bytes:
    """Return what is in a file.

    :raises UnreadableFile: it is none, or may not be read
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(str(path), str(error.strerror)) from None
