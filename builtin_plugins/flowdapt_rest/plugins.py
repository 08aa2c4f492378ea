"""Routes over plugins and the data files that they bring."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import orjson
from starlette.responses import FileResponse

from flowdapt.errors import ResourceNotFound
from flowdapt.plugins import Plugin, State
from flowdapt_rest import installed, shapes
from flowdapt_rest.datafiles import data_files
from flowdapt_rest.operations import Operation, negotiated
from flowdapt_rest.versions import V1ALPHA1

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.server import Server

KIND = "plugin"
FILES = "plugin.files"


class PluginRoutes:
    """What is installed, and what is in it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def routes(self) -> list[Operation]:
        """Return the routes."""
        one = "/plugin/{plugin_name}"
        about = partial(Operation, kind=KIND)
        files = partial(Operation, kind=FILES, reply=shapes.always(shapes.PluginFiles))
        content = partial(
            Operation, reply=shapes.always(bytes), media_type="application/octet-stream"
        )
        return [
            about("GET /plugin/", self.list, name="list_plugins", reply=shapes.plugins),
            about(f"GET {one}", self.get, name="get_plugin", reply=shapes.plugin),
            files(f"GET {one}/files", self.files, name="list_plugin_files"),
            content(f"GET {one}/files/{{file_name}}", self.file, name="get_plugin_file"),
        ]

    async def list(self, request: Request) -> Response:
        """Return the plugins: those in use, and in v1 also those that are not, with the reason."""
        schema = negotiated(request)
        found = await self._shown(schema.version)
        return schema.reply(orjson.dumps([_facts(plugin, schema.version) for plugin in found]))

    async def get(self, request: Request) -> Response:
        """Return one plugin."""
        schema = negotiated(request)
        plugin = await self._find(request, schema.version)
        return schema.reply(orjson.dumps(_facts(plugin, schema.version)))

    async def files(self, request: Request) -> Response:
        """Return the names of a plugin's data files."""
        schema = negotiated(request)
        found = await self._files(request, schema.version)
        return schema.reply(orjson.dumps(shapes.PluginFiles(files=[*found])))

    async def file(self, request: Request) -> Response:
        """Return the content of one of the files that the list names."""
        name = request.path_params["file_name"]
        found = await self._files(request, V1ALPHA1)
        if name not in found:
            raise ResourceNotFound("plugin file", name)
        # Clients hand on the bytes as they come for this type, and for no other.
        return FileResponse(found[name], filename=name, media_type="application/octet-stream")

    async def _files(self, request: Request, version: str) -> dict[str, Path]:
        # In a thread, as a folder may be large and its disk far away.
        return await asyncio.to_thread(data_files, await self._find(request, version))

    async def _find(self, request: Request, version: str) -> Plugin:
        name = request.path_params["plugin_name"]
        for plugin in await self._shown(version):
            if plugin.name == name:
                return plugin
        raise ResourceNotFound("plugin", name)

    async def _shown(self, version: str) -> Sequence[Plugin]:
        # Published clients know no state, so to them a plugin that is listed is one that works.
        found = await asyncio.to_thread(installed.plugins, self.server)
        return [p for p in found if version != V1ALPHA1 or p.state is State.HEALTHY]


def _facts(plugin: Plugin, version: str) -> shapes.Plugin:
    facts: shapes.Plugin = {
        "name": plugin.name,
        "metadata": _metadata(plugin),
        "module": plugin.entry.module,
    }
    if version == V1ALPHA1:
        return facts
    known: shapes.PluginV1 = {
        **facts,
        "version": plugin.version,
        "state": plugin.state.value,
        "reason": plugin.reason,
        "provides": plugin.provides,
    }
    return known


def _metadata(plugin: Plugin) -> shapes.PluginMetadata:
    """Return what the distribution says of itself; clients fail on anything but text."""
    about: dict[str, list[str]] = {}
    if plugin.entry.dist is not None:
        for key, value in plugin.entry.dist.metadata.json.items():
            about[key] = [value] if isinstance(value, str) else list(value)
    links = dict(link.split(", ", 1) for link in about.get("project_url", []) if ", " in link)
    homepage = {key.lower().replace(" ", ""): url for key, url in links.items()}.get("homepage")

    def first(*keys: str) -> str:
        return next((about[key][0] for key in keys if about.get(key)), "")

    return {
        "description": first("summary"),
        "author": first("author", "author_email"),
        "license": first("license_expression", "license"),
        "url": first("home_page") or homepage or "",
        "version": plugin.version,
        "requirements": about.get("requires_dist", []),
    }
