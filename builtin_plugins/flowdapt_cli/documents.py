"""Resource files on their way to a server: all of them are checked before the first one is sent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowdapt.errors import InvalidResource, ResourceError, nearest
from flowdapt.resources import Resource
from flowdapt_cli.errors import CommandError
from flowdapt_cli.reading import files
from flowdapt_cli.reading.files import Document

STDIN = "-"


class BadFiles(CommandError):
    """Files hold what is no valid resource; each line of the message names one fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Checked:
    """A document that is a valid resource."""

    document: Document
    resource: Resource

    @property
    def title(self) -> str:
        """Kind and name, for people."""
        return f"{self.resource.kind} {self.resource.name}"


def read(paths: Sequence[str | Path], kinds: Mapping[str, type[Resource]]) -> list[Checked]:
    """Read and check all resources in files and folders.

    :param paths: ``-`` is standard input
    :param kinds: the models, by kind
    :raises BadFiles: naming file and line of each fault
    """
    checked: list[Checked] = []
    faults: list[str] = []
    for document in _documents(paths, faults):
        try:
            checked.append(Checked(document, _parsed(document, kinds)))
        except InvalidResource as error:
            faults += faults_of(document, error)
    places: dict[str, str] = {}
    for one in checked:
        first = places.setdefault(one.title, one.document.where)
        if first != one.document.where:
            faults.append(f"{one.document.where}: {one.title} is also in {first}")
    if faults:
        raise BadFiles(faults)
    return checked


def faults_of(document: Document, error: InvalidResource) -> list[str]:
    """Return a line for each fault of a document, with the line of the field at fault."""
    lines = []
    for fault in error.errors:
        field = ".".join(map(str, fault["loc"]))
        lines.append(f"{document.at(fault['loc'])}: {field and field + ': '}{fault['msg']}")
    return lines


def _documents(paths: Sequence[str | Path], faults: list[str]) -> Iterator[Document]:
    for path in paths:
        try:
            yield from _stdin() if str(path) == STDIN else files.read(Path(path))
        except ResourceError as error:
            faults.append(str(error))


def _stdin() -> list[Document]:
    found = files.parse(sys.stdin.read(), Path("stdin"))
    return [files.resource(document, os.environ) for document in found]


def _parsed(document: Document, kinds: Mapping[str, type[Resource]]) -> Resource:
    kind = str(document.data["kind"])
    if kind not in kinds:
        near = nearest(kind, kinds) or f"; there are {', '.join(kinds)}"
        wrong = f"{kind!r} is no kind of resource{near}"
        raise InvalidResource.at(document.where, ("kind",), wrong)
    return kinds[kind].parse(document.data, where=document.where, strict=True)
