"""Clients of one server: one that blocks, and one that is awaited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flowdapt.resources import Config, Resource, Workflow
from flowdapt_client.artifacts import Artifacts
from flowdapt_client.binding import Asking, Group
from flowdapt_client.events import Events
from flowdapt_client.exchange import ANSWER_SECONDS, Exchange
from flowdapt_client.keeping import Audit, Secrets
from flowdapt_client.objects import Objects
from flowdapt_client.plugins import Plugins
from flowdapt_client.reading import read
from flowdapt_client.records import Node, Status
from flowdapt_client.resources import Resources
from flowdapt_client.runs import Runs
from flowdapt_client.steps import Call, Request
from flowdapt_client.streams import Awaiting, Blocking
from flowdapt_client.triggers import Triggers

if TYPE_CHECKING:
    import ssl

ADDRESS = "http://127.0.0.1:8080"  #: of a server whose settings say nothing else

_S = TypeVar("_S", bound=Blocking | Awaiting)
_R = TypeVar("_R", bound=Resource)


class Everything(Group[_S]):
    """What can be asked of a server, by subject."""

    def __init__(self, shell: _S) -> None:
        super().__init__(shell)
        self.address = shell.exchange.address  #: without a token that may have stood in it
        self.runs: Runs[_S] = Runs(shell)
        self.events: Events[_S] = Events(shell)
        self.objects: Objects[_S] = Objects(shell)
        self.artifacts: Artifacts[_S] = Artifacts(shell)
        self.secrets: Secrets[_S] = Secrets(shell)
        self.triggers: Triggers[_S] = Triggers(shell)
        self.plugins: Plugins[_S] = Plugins(shell)
        self.audit: Audit[_S] = Audit(shell)
        self.workflows: Resources[_S, Workflow] = Resources(shell, Workflow)
        self.configs: Resources[_S, Config] = Resources(shell, Config)

    def resources(self, kind: type[_R]) -> Resources[_S, _R]:
        """Return what can be done with resources of any kind, such as one that a plugin brings."""
        return Resources(self._shell, kind)

    @Asking
    def status(self) -> Call[Status]:
        """Return how the server stands."""
        return read(Status, (yield Request("GET", "/status", kind="system")))

    @Asking
    def nodes(self) -> Call[list[Node]]:
        """Return where stages are computed, and what is free there."""
        found = yield Request("GET", "/nodes", kind="node")
        return [read(Node, node) for node in found]

    @Asking
    def drain(self) -> Call[None]:
        """Have the server accept no new runs."""
        yield Request("POST", "/drain")

    @Asking
    def undrain(self) -> Call[None]:
        """Have the server accept runs again."""
        yield Request("DELETE", "/drain")

    @Asking
    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        kind: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Call[Any]:
        """Return what the server answers to any request, as JSON is read.

        :param query: values that are ``None`` are left out; those of a list are repeated
        :param kind: such as ``workflow``; asks for our own version of its shape
        :raises Refused: it answers with an error
        """
        return (yield Request(method, path, body, query or {}, kind, headers or {}))


class Client(Everything[Blocking]):
    """Asks the server at one address, and waits for what it answers.

    It may be used by several threads at once. Use it as a context manager, or close it.

    :param address: the scheme may be left out; a token may stand in front of the host
    :param token: what the server knows the caller by
    :param timeout: seconds until an answer counts as never coming
    :param verify: whether, or by which certificates, an ``https`` server has to show who it is
    :raises BadAddress: it is no address
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        token: str | None = None,
        timeout: float = ANSWER_SECONDS,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        super().__init__(Blocking(Exchange(address, token=token, timeout=timeout, verify=verify)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._shell.http.close()


class AsyncClient(Everything[Awaiting]):
    """Asks the server at one address; what it answers is awaited.

    Use it as a context manager, or close it. The parameters are those of :class:`Client`.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        token: str | None = None,
        timeout: float = ANSWER_SECONDS,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        super().__init__(Awaiting(Exchange(address, token=token, timeout=timeout, verify=verify)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._shell.http.aclose()
