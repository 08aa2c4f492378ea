"""Asks a server over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from flowdapt import __version__
from flowdapt.errors import FlowdaptError, ResourceNotFound
from flowdapt_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONNECT_SECONDS = 5.0  #: until a server counts as not there
ANSWER_SECONDS = 120.0  #: until an answer counts as never coming
LOG_BLOCKS = 1000  #: of a log, in one answer
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class NoServer(FlowdaptError):
    """Nobody answers at the address."""

    def __init__(self, address: str) -> None:
        super().__init__(f"no server answers at {address}; start one with 'flowdapt serve'")
        self.address = address


class Refused(FlowdaptError):
    """The server answered with an error."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the server refused: {detail}")
        self.status, self.detail = status, detail


class Client:
    """Speaks to the server at one address.

    :param address: such as ``http://127.0.0.1:8080``; the scheme may be left out
    :raises CommandError: it is no address
    """

    def __init__(self, address: str) -> None:
        self.address = (address if "://" in address else f"http://{address}").rstrip("/")
        try:
            url = httpx.URL(self.address)
        except httpx.InvalidURL as error:
            raise CommandError(f"{address!r} is no address of a server: {error}") from None
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": f"flowdapt/{__version__}", "Accept": "application/json"},
            trust_env=url.host not in LOOPBACK,  # a proxy would look for it on its own machine
            verify=url.scheme == "https",  # reading certificates takes time; http has no use for it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    # Resources -------------------------------------------------------------------------------

    def list(self, collection: str) -> Sequence[dict[str, Any]]:
        """Return all resources of a kind."""
        found: list[dict[str, Any]] = self._ask("GET", f"/{collection}/")
        return found

    def find(self, collection: str, name: str) -> dict[str, Any] | None:
        """Return a resource by name or uid, if it is there."""
        path = f"/{collection}/{quote(name, safe='')}"
        found: dict[str, Any] | None = self._found("GET", path)
        return found

    def create(self, collection: str, resource: Mapping[str, Any]) -> None:
        """Have a new resource stored; unknown fields are refused."""
        self._ask("POST", f"/{collection}/", body=resource, fieldValidation="Strict")

    def replace(self, collection: str, name: str, resource: Mapping[str, Any]) -> None:
        """Have a resource stored in place of another; unknown fields are refused."""
        path = f"/{collection}/{quote(name, safe='')}"
        self._ask("PUT", path, body=resource, fieldValidation="Strict")

    def delete(self, collection: str, name: str) -> dict[str, Any] | None:
        """Remove a resource and return it, if it was there."""
        path = f"/{collection}/{quote(name, safe='')}"
        found: dict[str, Any] | None = self._found("DELETE", path)
        return found

    # Runs ------------------------------------------------------------------------------------

    def start(
        self, workflow: str, values: Mapping[str, Any], namespace: str | None
    ) -> dict[str, Any]:
        """Have a run started, and return it as it begins."""
        path = f"/workflows/{quote(workflow, safe='')}/run"
        query = {"wait": "false"} | ({"namespace": namespace} if namespace else {})
        return dict(self._ask("POST", path, body=values, kind="workflow_run", **query))

    def runs(self, workflow: str, limit: int) -> Sequence[dict[str, Any]] | None:
        """Return the last runs of a workflow, newest first, if the workflow is there."""
        path = f"/workflows/{quote(workflow, safe='')}/run"
        found: list[dict[str, Any]] | None
        found = self._found("GET", path, kind="workflow_run", limit=limit)
        return found

    def run(self, name: str) -> dict[str, Any]:
        """Return a run by name or uid, with its result.

        :raises ResourceNotFound: there is none
        """
        return dict(self._of_run("GET", name))

    def stages(self, name: str) -> Sequence[dict[str, Any]]:
        """Return how the stages of a run stand, those that began."""
        found: list[dict[str, Any]] = self._of_run("GET", name, "/stages")
        return found

    def log(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a run's log, each with its ``stage``, in order."""
        after, blocks = 0, [None]
        while blocks:
            page = self._of_run("GET", name, "/logs", after=after, limit=LOG_BLOCKS)
            after, blocks = page["next"], page["blocks"]
            for block in blocks:
                for line in block["lines"]:
                    yield {"stage": block["stage"], **line}

    def cancel(self, name: str) -> dict[str, Any]:
        """Have a run stopped, and return it once it has ended."""
        return dict(self._of_run("POST", name, "/cancel"))

    def delete_run(self, name: str) -> dict[str, Any]:
        """Remove a run and return it; one in progress is stopped first."""
        return dict(self._of_run("DELETE", name))

    def _of_run(self, method: str, name: str, part: str = "", **query: int) -> Any:
        path = f"/workflows/run/{quote(name, safe='')}{part}"
        found = self._found(method, path, kind="workflow_run", **query)
        if found is None:
            raise ResourceNotFound("run", name)
        return found

    # The server ------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return how the server is."""
        return dict(self._ask("GET", "/status", kind="system"))

    def _found(self, method: str, path: str, **facts: Any) -> Any:
        """Ask for something that may not be there."""
        try:
            return self._ask(method, path, **facts)
        except Refused as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def _ask(
        self, method: str, path: str, *, body: object = None, kind: str = "", **query: str | int
    ) -> Any:
        """Send one request.

        :param kind: asks for our own version of what is answered, not the contract's
        """
        headers = {"X-API-Version": f"{kind}.v1"} if kind else {}
        try:
            reply = self._http.request(method, path, json=body, params=query, headers=headers)
        except httpx.TimeoutException:
            raise FlowdaptError(f"the server at {self.address} does not answer in time") from None
        except httpx.TransportError:
            raise NoServer(self.address) from None
        except ValueError as error:  # such as NaN, for which JSON has no word
            raise CommandError(f"what is to be sent is no JSON: {error}") from None
        try:
            answer = reply.json()
        except ValueError:
            raise FlowdaptError(f"what answers at {self.address} is no flowdapt server") from None
        if reply.is_error:
            raise Refused(reply.status_code, _detail(answer))
        return answer


def _detail(answer: Any) -> str:
    return str(answer.get("detail", answer)) if isinstance(answer, dict) else str(answer)
