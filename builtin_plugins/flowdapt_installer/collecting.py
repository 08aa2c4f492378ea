"""Fetches what was resolved into the warehouse, every file with its hash."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from netrc import NetrcParseError
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
from flowdapt_sets.sets import Wheel
from flowdapt_sets.wheels import digest

from flowdapt_installer import building
from flowdapt_installer.errors import ChangeFailed
from flowdapt_installer.resolving import Locked
from flowdapt_installer.warehouse import Warehouse

#: variables in which uv finds addresses of indexes, each perhaps with a name and = before it
INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
AT_ONCE = 8  #: files that are fetched side by side
ANSWER_SECONDS = 60.0  #: of silence until an index is given up


async def collected(
    locked: Sequence[Locked], warehouse: Warehouse, told: Callable[[Wheel], None]
) -> list[Wheel]:
    """Have all wheels in the warehouse, and return them.

    :param told: called with each as it is there
    :raises ChangeFailed: one cannot be had, or is not what was resolved
    """
    limit = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(
        follow_redirects=True, timeout=ANSWER_SECONDS, trust_env=True
    ) as http:

        async def one(item: Locked) -> Wheel:
            async with limit:
                wheel = await _wheel(item, warehouse, http)
            told(wheel)
            return wheel

        tasks = [asyncio.create_task(one(item)) for item in locked]
        try:
            return [*await asyncio.gather(*tasks)]
        finally:  # of several, the first error counts
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _wheel(item: Locked, warehouse: Warehouse, http: httpx.AsyncClient) -> Wheel:
    if not item.source and item.sha256:
        kept = await asyncio.to_thread(warehouse.found, item.sha256)
        if kept is not None:
            return kept
    if item.git:
        file, content = await building.cloned(item.url)
    elif item.source:
        file, content = await _built(item, http)
    else:
        file, content = _file(item.url), await _content(item, http)
    wheel = await asyncio.to_thread(warehouse.add, content, file)
    if wheel.name != item.name:
        raise ChangeFailed(f"{item.url} is {wheel.name}, and {item.name} was expected")
    return wheel


async def _built(item: Locked, http: httpx.AsyncClient) -> tuple[str, bytes]:
    local = _local(item.url)
    if local is not None and local.is_dir():
        return await building.built(local)
    content = await _content(item, http)
    with tempfile.TemporaryDirectory(prefix="flowdapt-sdist-") as folder:
        place = Path(folder, _file(item.url))
        await asyncio.to_thread(place.write_bytes, content)
        return await building.built(place)


async def _content(item: Locked, http: httpx.AsyncClient) -> bytes:
    """Return what is at an address, once it has the hash that it was resolved with."""
    local = _local(item.url)
    try:
        if local is not None:
            content = await asyncio.to_thread(local.read_bytes)
        else:
            reply = await http.get(item.url, auth=_auth(item.url))
            reply.raise_for_status()
            content = reply.content
    except (OSError, httpx.HTTPError) as error:
        said = str(error) or type(error).__name__
        raise ChangeFailed(f"{_file(item.url)} cannot be fetched: {said}") from None
    found = digest(content)
    if item.sha256 and found != item.sha256:
        said = f"{_file(item.url)} has the hash {found[:16]}..., and not {item.sha256[:16]}..."
        raise ChangeFailed(f"{said} that it was resolved with")
    return content


def _auth(url: str) -> httpx.Auth | None:
    """Return what an index wants to know, as uv has it: from its address, or from a netrc."""
    host = urlsplit(url).netloc
    for variable in INDEXES:
        for word in os.environ.get(variable, "").split():
            index = urlsplit(re.sub(r"^[\w.-]+=", "", word))
            if index.username and index.netloc.rpartition("@")[2] == host:
                return httpx.BasicAuth(unquote(index.username), unquote(index.password or ""))
    with suppress(OSError, NetrcParseError):
        return httpx.NetRCAuth(os.environ.get("NETRC"))
    return None


def _local(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme in ("http", "https") else Path(url)


def _file(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]
