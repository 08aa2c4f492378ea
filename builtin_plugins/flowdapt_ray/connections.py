"""How a gateway comes to a cluster of Ray: it starts one, or connects to one that is there."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from flowdapt_workers.clusters import ClusterUnavailable

from flowdapt_ray import names
from flowdapt_ray.attendants import Attendant
from flowdapt_ray.options import Options

ANSWER_SECONDS = 5.0  #: how long a head node may take to accept a connection
TAKE_SECONDS = 60.0  #: and how long until it has taken us
START_SECONDS = 120.0  #: how long a cluster of our own may take to start
REFUSED = b"InvalidAuthToken"  #: what Ray writes where it does not take our token, and tries again

_REFUSAL = (
    "the Ray cluster at {address} takes no one without its token, and the one here is {what}: put "
    "what `ray get-auth-token` prints on its head node into the variable RAY_AUTH_TOKEN, or into "
    "the file ~/.ray/auth_token"
)


def _prepare(options: Options) -> None:
    """Set what Ray reads from the environment when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # we look at one reference of two
    # Stages that ask for no device see none: what Ray does unless it is told, and asks to be told.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    # Of a server started by `uv run`, Ray would upload the working folder, and start each process
    # of the cluster by another `uv run` in a copy of it. Our stages' code goes its own way.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if options.address is None:
        # The switch is for systems that ask the user about every open port; with it, everything
        # listens on loopback only. Without a token, others on this machine could do as they like.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    elif _token_known():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _token_known() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    file = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return Path(file).is_file()


async def imported(options: Options) -> None:
    """Import Ray, unless it would be of no use.

    :raises ClusterUnavailable: it is not installed, or nobody is at the address
    """
    if options.address not in (None, "auto"):
        await _check_reachable(str(options.address))
    _prepare(options)
    try:
        import ray  # noqa: F401 - what it sets up is the purpose
    except ImportError as error:
        said = f"Ray cannot be imported ({error}): install 'flowdapt[ray]'"
        raise ClusterUnavailable(said, final=True) from None


async def connect(attendant: Attendant, options: Options) -> str:
    """Connect to the cluster, or start one; return the address of its dashboard, if it has one.

    :raises ClusterUnavailable: saying why
    """
    import ray

    given = {
        "namespace": names.NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,  # what there is to say on connecting, we say
        **options.any,
    }
    if options.runtime_env:  # with any, Ray's processes take twice as long to start
        given["runtime_env"] = options.runtime_env
    if options.address is None:
        given |= {"address": "local", **_local(options.local)}
        work = attendant.call(lambda: ray.init(**given))
        return await _within(work, START_SECONDS, "Ray did not start on this machine")
    address = options.address
    given["address"] = address
    with _Refusals() as refusals:
        work = attendant.call(lambda: ray.init(**given))
        said = f"the Ray cluster at {address} did not take us"
        return await _within(work, TAKE_SECONDS, said, refusals=refusals, address=address)


async def _within(
    work: Any,
    seconds: float,
    said: str,
    *,
    refusals: _Refusals | None = None,
    address: str = "",
) -> str:
    """Wait for Ray, or for the reason why it is of no use to wait."""
    connecting = asyncio.ensure_future(work)
    waits = {connecting} if refusals is None else {connecting, refusals.come}
    done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if refusals is not None and refusals.come in done:
        what = "another" if os.environ.get("RAY_AUTH_MODE") == "token" else "not known"
        raise ClusterUnavailable(_REFUSAL.format(address=address, what=what))
    if connecting not in done:
        raise ClusterUnavailable(f"{said} within {seconds:g} s")
    try:
        context = await connecting
    except Exception as error:
        raise _unavailable(said, error) from error
    return str(context.dashboard_url or "")


def _unavailable(said: str, error: Exception) -> ClusterUnavailable:
    """Say in words what Ray raised, and whether it always will."""
    text = " ".join(str(error).split())
    if "Version mismatch" in text:
        return ClusterUnavailable(f"{said}: {text}", final=True)
    mistaken = isinstance(error, ValueError | TypeError) or "Unknown keyword" in text
    return ClusterUnavailable(f"{said}: {type(error).__name__}: {text}", final=mistaken)


async def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        said = f"cluster_address must be host:port of a head node, or 'auto', not {address!r}"
        raise ClusterUnavailable(said, final=True)
    if (error := await unreachable(host, int(port), ANSWER_SECONDS)) is not None:
        raise ClusterUnavailable(f"nothing answers at {address}: {error}")


async def unreachable(host: str, port: int, seconds: float) -> str | None:
    """Return why nobody can be reached at a port, if that is so."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host.strip("[]"), port)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.close()
    return None


def _local(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a cluster of our own, as far as this machine lets it have them."""
    made = dict(options)
    # What Ray needs for its dashboard comes with ray[default] only.
    made.setdefault("include_dashboard", all(map(find_spec, ("aiohttp", "aiohttp_cors"))))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((made["dashboard_host"], made["dashboard_port"]))
        except OSError:  # taken, so that Ray would not start at all
            del made["dashboard_port"]
    return made


class _Refusals:
    """Reads along what this process writes to its standard error, for whether Ray is refused.

    Ray's own answer comes 20 s later, and does not say that it was for want of a token.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.come: asyncio.Future[None] = self._loop.create_future()

    def __enter__(self) -> Self:
        sys.stderr.flush()
        self._onward = os.dup(2)
        self._end, write = os.pipe()
        os.dup2(write, 2)
        os.close(write)
        self._reader = threading.Thread(target=self._read, daemon=True, name="refusals")
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        sys.stderr.flush()
        os.dup2(self._onward, 2)  # which closes the other end
        self.come.cancel()

    def _read(self) -> None:
        while data := os.read(self._end, 1 << 16):
            if REFUSED in data:
                self._loop.call_soon_threadsafe(self._refused)
            else:
                os.write(self._onward, data)
        os.close(self._end)
        os.close(self._onward)

    def _refused(self) -> None:
        if not self.come.done():
            self.come.set_result(None)
