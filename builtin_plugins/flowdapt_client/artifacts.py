"""What a client does with artifacts: it finds them, reads and writes their files, removes them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from flowdapt_client.addresses import about, path
from flowdapt_client.binding import Asking, Group, Iterating
from flowdapt_client.reading import read
from flowdapt_client.records import Artifact, ArtifactEntry, ArtifactPage
from flowdapt_client.steps import Call, Item, Items, Request, Step
from flowdapt_client.streams import Awaiting, Blocking

KIND, FILE = "artifact", "artifact file"
PAGE = 1000  #: artifacts in one answer, where more are wanted

_S = TypeVar("_S", bound=Blocking | Awaiting)


class Artifacts(Group[_S]):
    """Files and metadata under a name; one is meant by its name and its namespace."""

    @Iterating
    def list(
        self,
        *,
        namespace: str | None = None,
        prefix: str | None = None,
        limit: int | None = None,
    ) -> Items[ArtifactEntry]:
        """Yield artifacts by namespace and name; more are asked for as they are wanted.

        :param namespace: only those in this one
        :param prefix: only those whose names begin with this
        :param limit: at most so many
        """
        query = {"namespace": namespace, "prefix": prefix}
        left, after = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            asked = {**query, "limit": size, "after": after}
            page = read(ArtifactPage, (yield Request("GET", "/artifacts", query=asked, kind=KIND)))
            for one in page.artifacts:
                yield Item(one)
            left = None if left is None else left - len(page.artifacts)
            after = page.next
            if after is None:
                return

    @Asking
    def info(
        self, name: str, *, namespace: str = "default", version: int | None = None
    ) -> Call[Artifact]:
        """Return what is known of an artifact: its files, its metadata, its versions.

        :param version: absent, the newest
        :raises ResourceNotFound: there is none
        """
        query = {"version": version}
        request = Request("GET", path("artifacts", namespace, name), query=query, kind=KIND)
        title = _title(namespace, name, version)
        return read(Artifact, (yield from about(KIND, title, _answer(request))))

    @Asking
    def read(
        self, name: str, file: str, *, namespace: str = "default", version: int | None = None
    ) -> Call[bytes]:
        """Return what is in a file of an artifact.

        :param version: as of :meth:`info`
        :raises ResourceNotFound: there is none
        """
        where = path("artifacts", namespace, name, "files", file)
        request = Request("GET", where, query={"version": version}, raw=True)
        title = f"{_title(namespace, name, version)}/{file}"
        found: bytes = yield from about(FILE, title, _answer(request))
        return found

    @Asking
    def write(
        self, name: str, file: str, content: bytes, *, namespace: str = "default"
    ) -> Call[Artifact]:
        """Make a new version of an artifact, in which a file has this content, and return it.

        The artifact is made where there is none. Stages may unpickle what is in it, so this is for
        administrators.
        """
        where = path("artifacts", namespace, name, "files", file)
        request = Request("PUT", where, content=content, kind=KIND)
        return read(Artifact, (yield request))

    @Asking
    def delete(self, name: str, *, namespace: str = "default") -> Call[None]:
        """Remove an artifact with all its versions.

        :raises ResourceNotFound: there is none
        """
        request = Request("DELETE", path("artifacts", namespace, name), kind=KIND)
        yield from about(KIND, f"{namespace}/{name}", _answer(request))


def _title(namespace: str, name: str, version: int | None) -> str:
    return f"{namespace}/{name}" + ("" if version is None else f" version {version}")


def _answer(request: Request) -> Generator[Step, Any, Any]:
    return (yield request)
