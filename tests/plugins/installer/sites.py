"""Servers on clusters, whose plugins are changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowdapt.client import Client, PluginChange
from tests.cluster_nodes import Machines
from tests.plugins.cli.processes import Process
from tests.wheelhouse import wheel

WORKFLOW: dict[str, Any] = {
    "kind": "workflow",
    "metadata": {"name": "versions"},
    "spec": {
        "stages": [
            {
                "name": "versions",
                "target": "orchard.stages.version",
                "type": "parameterized",
                "options": {"map_on": "items", "chunk_size": 1},
            }
        ]
    },
}
STAGES = """
    import os, time
    VERSION = {version!r}
    def version(items):
        if isinstance(items, str):  # a file that is waited for
            open(items + ".begun", "w").close()
            while not os.path.exists(items):
                time.sleep(0.02)
            from orchard import late
            return late.VERSION
        time.sleep(0.05)
        return VERSION, os.environ.get("FLOWDAPT_SETS_DIR", "/here/sets")
    """


def orchard(folder: Path, version: str, extra: str = "") -> Path:
    """Return a wheel of a plugin that tells its version, also of what it imports late."""
    stages = STAGES.format(version=version)
    files = {"orchard/__init__.py": extra, "orchard/stages.py": stages}
    files["orchard/late.py"] = f"VERSION = {version!r}\n"
    return wheel(folder, "orchard", version, files)


@dataclass
class Site:
    """A server on a cluster."""

    cluster: Machines | None
    client: Client
    process: Process

    def change(self, what: Any, *names: str | Path, **facts: Any) -> PluginChange:
        """Make a change, and return how it ended."""
        wanted = [
            self.client.plugins.send(name.name, name.read_bytes())
            if isinstance(name, Path)
            else name
            for name in names
        ]
        begun = self.client.plugins.begin(what, wanted, **facts)
        *_, ended = self.client.plugins.follow(begun.id)
        return ended

    def install(self, *names: str | Path, **facts: Any) -> PluginChange:
        """Install something that can be installed."""
        ended = self.change("install", *names, **facts)
        assert ended.state == "done", ended.error
        return ended

    def versions(self, count: int = 20, **facts: Any) -> tuple[set[str], set[str]]:
        """Run the workflow; return the versions that were met, and on which nodes."""
        found = self.client.runs.run("versions", {"items": [*range(count)]}, **facts).value()
        return {version for version, _ in found}, {Path(sets).parent.name for _, sets in found}


@contextmanager
def serving(
    cluster: Machines | None,
    app_dir: Path,
    *settings: str,
    token: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Run a server on a cluster, or by itself."""
    options = ["rpc.api.port=0", *(cluster.settings if cluster else ()), *settings]
    given = [word for option in options for word in ("-o", option)]
    process = Process("-d", app_dir, *given, "serve", environment=environment)
    try:
        address = process.line("serves at").split("serves at ")[1].split(",")[0]
        with Client(address, token=token) as client:
            client.workflows.apply(WORKFLOW)
            yield Site(cluster, client, process)
    finally:
        process.kill()
