"""Where things are on a server."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from flowdapt import runs
from flowdapt.errors import InvalidInput, ResourceNotFound
from flowdapt_client.errors import Refused

_T = TypeVar("_T")
_Y = TypeVar("_Y")

Named = str | UUID  #: a name or a uid
OfRun = Named | runs.Run


def path(*parts: Named) -> str:
    """Return a path; each part of it may hold any character.

    :raises InvalidInput: a part is empty or of dots, and would lead to something else
    """
    for part in map(str, parts):
        if part in ("", ".", ".."):
            raise InvalidInput(f"{part!r} is no name")
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def run_path(run: OfRun, *parts: str) -> str:
    """Return the path of a run, or of something of it."""
    return path("workflows", "run", name_of(run), *parts)


def about_run(run: OfRun, call: Generator[_Y, Any, _T]) -> Generator[_Y, Any, _T]:
    """Do a call about a run, and say so where there is none."""
    return about("workflow_run", name_of(run), call, word="run")


def about(
    kind: str, name: Named, call: Generator[_Y, Any, _T], *, word: str = ""
) -> Generator[_Y, Any, _T]:
    """Do a call about something with a name.

    :param word: what people call the kind, where that is something else
    :raises ResourceNotFound: the server has none
    """
    try:
        return (yield from call)
    except Refused as error:
        # Other things can be missing, too, such as a revision.
        if error.detail != str(ResourceNotFound(kind, str(name))):
            raise
        raise ResourceNotFound(word or kind, str(name)) from None


def name_of(run: OfRun) -> str:
    """Return what a server finds a run by."""
    return str(run.uid if isinstance(run, runs.Run) else run)
