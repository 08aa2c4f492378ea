"""Records the page ``docs/tutorial/three-machines.md``: a plugin, from nothing to three nodes.

    python docs/session.py

Each node is a process of its own in a virtual environment of its own, which knows nothing of the
plugin. What the page shows is what was typed and what came, with nothing left out but the progress
of steps, and names of this machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster_nodes import Environments, machines  # noqa: E402 - of the folder above
from tests.plugins.installer.sites import serving  # noqa: E402
from tests.ray_clusters import known  # noqa: E402

PAGE = ROOT / "docs" / "tutorial" / "three-machines.md"
HEAD = """# From an idea to three machines

Recorded by `python docs/session.py`: a cluster of three nodes runs, each in a virtual environment
of its own without the plugin, and a server that computes on it. {count} commands later a workflow
of a new plugin has run there; together they took {seconds:.0f} seconds, on two processors that all
share.

```text
"""
COMMANDS = [
    "flowdapt plugins new my-plugin --defaults",
    "flowdapt plugins install ./my-plugin --apply",
    "flowdapt run my_plugin --text 'pears and plums'",
]
AFTERWARDS = ["flowdapt plugins list --cluster", "flowdapt plugins rollback"]


@dataclass
class Session:
    """What is typed, and what comes."""

    folder: Path
    server: str
    text: list[str] = field(default_factory=list)

    def type(self, command: str) -> float:
        """Run a command; return how many seconds it took."""
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FLOWDAPT_SERVER": self.server,
            "HOME": str(self.folder),
            "COLUMNS": "110",
            "NO_COLOR": "1",
        }
        begin = time.perf_counter()
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            check=True,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        took = time.perf_counter() - begin
        self.text.append(f"$ {command}")
        for line in done.stdout.splitlines():
            if not re.match(r"\w+( \.\.\.|: collected .*)$", line):
                self.text.append(line.replace(str(self.folder), "~").rstrip())
        self.text.append("")
        return took


@contextmanager
def cluster(engine: str, folder: Path, *names: str) -> Iterator[str]:
    """Run a cluster and a server on it; yield the server's address."""
    environments = Environments(folder / "environments")
    (folder / "environments").mkdir()
    with (
        known(),
        machines(engine, environments, folder / "nodes", *names) as found,
        serving(found, folder / "app") as site,
    ):
        yield site.client.address


def record() -> tuple[float, str]:
    """Return how many seconds it took to come to a finished run, and the text of the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        home.mkdir()
        with cluster("ray", folder, "one", "two", "three") as address:
            session = Session(home, address)
            seconds = sum(map(session.type, COMMANDS))
            for command in AFTERWARDS:
                session.type(command)
    head = HEAD.format(count=["No", "One", "Two", "Three", "Four"][len(COMMANDS)], seconds=seconds)
    return seconds, head + "\n".join(session.text).rstrip() + "\n```\n"


async def recorded() -> float:
    """Return how many seconds it takes, for who measures it."""
    seconds, _ = await asyncio.to_thread(record)
    return seconds


def main() -> None:
    """Write the page."""
    _, text = record()
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
