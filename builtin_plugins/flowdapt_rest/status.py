"""How the server stands, for clients and people; nothing in here waits."""

from __future__ import annotations

import platform
import socket
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import orjson
import psutil
from starlette.responses import Response

from flowdapt import __version__
from flowdapt_rest import shapes
from flowdapt_rest.operations import Operation, negotiated
from flowdapt_rest.roles import Role
from flowdapt_rest.versions import V1ALPHA1

if TYPE_CHECKING:
    from starlette.requests import Request

    from flowdapt.server import Server

KIND = "system"
MEASURED_SECONDS = 0.5  #: a load measured over less than this says nothing
API_VERSION = "v1"  #: in the answer to a ping; published clients know no other


class StatusRoutes:
    """Ping, status and drain."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.process = psutil.Process()
        psutil.cpu_percent()  # what is measured is the time since the last call
        self.measured, self.cpu = monotonic(), 0.0

    def routes(self) -> list[Operation]:
        """Return the routes."""
        draining = partial(Operation, reply=shapes.always(shapes.Drain), role=Role.OPERATE)
        return [
            Operation(
                "GET /",
                self.ping,
                name="ping",
                reply=shapes.always(shapes.Ping),
                role=Role.ANYONE,
            ),
            Operation("GET /status", self.status, name="status", kind=KIND, reply=shapes.status),
            draining("POST /drain", self.drain, name="drain"),
            draining("DELETE /drain", self.undrain, name="undrain"),
        ]

    async def ping(self, request: Request) -> Response:
        """Say who answers."""
        del request
        who: shapes.Ping = {
            "app": "flowdapt",
            "version": __version__,
            "api_version": API_VERSION,
        }
        return _json(who)

    async def status(self, request: Request) -> Response:
        """Return how the server stands."""
        schema = negotiated(request)
        facts: shapes.Status = {
            "version": __version__,
            "name": self.server.settings.name,
            "system": self._system(),
            "os": _os(),
            "python": platform.python_version(),
            "hostname": socket.gethostname(),
            "services": self._services(),
            "database": _path(self.server.engine.storage),
        }
        if schema.version != V1ALPHA1:
            draining, addresses = self.server.engine.draining, self.server.addresses
            known: shapes.StatusV1 = {**facts, "draining": draining, "addresses": addresses}
            return schema.reply(_dumped(known))
        return schema.reply(_dumped(facts))

    async def drain(self, request: Request) -> Response:
        """Accept no new runs."""
        del request
        self.server.engine.draining = True
        return _json(shapes.Drain(draining=True))

    async def undrain(self, request: Request) -> Response:
        """Accept runs again."""
        del request
        self.server.engine.draining = False
        return _json(shapes.Drain(draining=False))

    def _system(self) -> shapes.System:
        network = psutil.net_io_counters()
        return {
            "time": datetime.now().strftime("%Y-%m-%d %H:%M:%S"),  # local, as clients show it
            "cpu_pct": self._cpu(),
            "memory": self.process.memory_info().rss,
            "disk_pct": psutil.disk_usage(str(self.server.settings.app_dir)).percent,
            "network_io_sent": network.bytes_sent if network else 0,
            "network_io_recv": network.bytes_recv if network else 0,
            "threads": self.process.num_threads(),
            "fds": self.process.num_fds(),
            "pid": self.process.pid,
        }

    def _cpu(self) -> float:
        if monotonic() - self.measured > MEASURED_SECONDS:
            self.measured, self.cpu = monotonic(), psutil.cpu_percent()
        return self.cpu

    def _services(self) -> dict[str, Any]:
        executor = self.server.engine.executor
        # The dashboard reads these names, and its page fails where one of the last two is missing.
        known = {
            "CoreService": {"status": "OK"},
            "TriggerService": {"status": _word("triggers" in self.server.services)},
            "ComputeService": {
                "status": "OK",
                "executor": _path(executor),
                "environment": executor.describe(),
            },
        }
        others = {name: s for name, s in self.server.services.items() if name != "triggers"}
        return known | {type(s).__name__: {"status": "OK"} for s in others.values()}


def _word(well: bool) -> str:
    return "OK" if well else "NOT_OK"


def _os() -> shapes.Os:
    facts = platform.uname()
    return {
        "name": facts.system,
        "version": facts.version,
        "release": facts.release,
        "machine": facts.machine,
    }


def _path(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def _dumped(facts: shapes.Status) -> bytes:
    return orjson.dumps(facts, default=str, option=orjson.OPT_NON_STR_KEYS)


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
