"""Kills servers and workers again and again while runs of many kinds are in progress.

    python -m tests.chaos.campaign --kills 1000

Whoever asks for a run asks again until it is acknowledged, with the same key, and cancels some. In
the end, every run that was acknowledged has to be in one final state with the right result, no
stage whose completion was stored may have completed twice, nothing of a run may have begun after
its cancelling was acknowledged, and no process and no shared memory may be left.
"""

# ruff: noqa: T201 - a program that tells what it counted, by chance

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.events import RUN_FINISHED, STAGE_CHANGED
from flowdapt.server import LOCK
from flowdapt.storage import EventPage, EventQuery

HERE = Path(__file__).parent
MOST_OPEN = 24  #: runs in progress at once
END_SECONDS = 120.0  #: how long what is in progress may take once nobody kills any more
MEDIA = "application/vnd.flowdapt.ai.workflow_run.v1+json"
FINAL = ("finished", "failed", "cancelled")


def stage(name: str, *after: str, target: str = "", mapped: bool = False, **more: Any) -> Any:
    """Return a stage of the farm."""
    kind = "parameterized" if mapped else "simple"
    path = f"user_modules.farm.{target or name}"
    return {"name": name, "target": path, "depends_on": after, "type": kind, **more}


#: by name: the stages, and the result for an input ``n``
WORKFLOWS: dict[str, tuple[list[Any], Callable[[int], int]]] = {
    "chain": (
        [stage("first"), stage("total", "first"), stage("double", "total", "total", target="both")],
        lambda n: n * (n - 1),
    ),
    "diamond": (
        [
            stage("first"),
            stage("left", "first", target="total"),
            stage("right", "first", target="total"),
            stage("both", "left", "right"),
        ],
        lambda n: n * (n - 1),
    ),
    "fan": (
        [stage("first"), stage("square", "first", mapped=True), stage("total", "square")],
        lambda n: sum(k * k for k in range(n)),
    ),
    "fans": (
        [
            stage("first"),
            stage("square", "first", mapped=True, options={"chunk_size": 2}),
            stage("later", "square", mapped=True),
            stage("total", "later"),
        ],
        lambda n: sum(k * k + 1 for k in range(n)),
    ),
    "shared": (
        [stage("large"), stage("measure", "large", mapped=True), stage("total", "measure")],
        lambda n: sum(range(n)),
    ),
    "kept": (
        [
            stage("kept", target="large"),
            stage("measure", "kept", mapped=True),
            stage("total", "measure"),
        ],
        lambda n: sum(range(n)),
    ),
    "long": ([stage("long")], lambda n: n),
}
OPTIONS = {"kept": {"durable": True}}  #: of workflows, by name
GIVEN_UP = "while this run was in progress"  #: said of a run that a hundred servers did not end


@dataclass
class Asked:
    """A run that somebody asked for."""

    key: str
    workflow: str
    n: int
    uid: str = ""
    cancel: bool = False
    cancelled_at: float = 0.0  #: when that was acknowledged


@dataclass
class Counts:
    """What came of it."""

    kills_of_servers: int = 0
    kills_of_workers: int = 0
    runs: int = 0
    finished: int = 0
    cancelled: int = 0
    resumed: int = 0
    lost: int = 0
    wrong: int = 0
    given_up: int = 0
    ended_twice: int = 0
    stages_done_twice: int = 0
    elements_done_again: int = 0
    begun_after_cancel: int = 0
    orphans: int = 0
    shared_memory_left: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How much of it is not as promised."""
        return (
            self.lost
            + self.wrong
            + self.ended_twice
            + self.stages_done_twice
            + self.begun_after_cancel
            + self.orphans
            + self.shared_memory_left
        )


class Site:
    """A server that is killed and started, with its folder."""

    def __init__(self, folder: Path, executor: str) -> None:
        self.folder, self.executor = folder, executor
        (folder / "user_modules").mkdir()
        (folder / "user_modules" / "__init__.py").touch()
        shutil.copy(HERE / "farm.py", folder / "user_modules" / "farm.py")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=10,
            follow_redirects=True,
        )
        self.process: asyncio.subprocess.Process | None = None
        self.pids: dict[int, float] = {}  # of all processes there were, with when they began
        self.memories: set[Path] = set()  # the folders of all servers in shared memory
        self.log = (folder / "log").open("ab")

    async def start(self) -> None:
        """Start a server; return once it answers."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "flowdapt", "-d", str(self.folder)),
            *("-o", f"rpc.api.port={self.port}", "-o", f"executor={self.executor}", "serve"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd=self.folder,
        )
        async with asyncio.timeout(120):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await self.http.get("/status")).status_code < 500:
                        self._note_memory()
                        return
                if self.process.returncode is not None:
                    raise RuntimeError(f"the server ended: see {self.folder / 'log'}")
                await asyncio.sleep(0.02)

    def _note_memory(self) -> None:
        memory, *_ = json.loads((self.folder / LOCK).read_text())["places"]
        if "path" in (options := json.loads(memory[1])):
            self.memories.add(Path(options["path"]))

    def children(self) -> list[psutil.Process]:
        """Return the processes of the server, and note them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            assert self.process is not None
            found = psutil.Process(self.process.pid).children(recursive=True)
            for one in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.pids[one.pid] = one.create_time()
            return found
        return []

    async def kill_server(self) -> None:
        """Kill it, and start another one."""
        assert self.process is not None
        self.children()
        self.process.kill()
        await self.process.wait()
        await self.start()

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill one of its processes; tell whether there was one."""
        found = self.children()
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            chance.choice(found).send_signal(signal.SIGKILL)
        return True

    async def stop(self) -> None:
        """Stop it in order."""
        assert self.process is not None
        self.children()
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 60)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self.http.aclose()
        self.log.close()


class Clients:
    """Ask for runs, cancel some, and note what was acknowledged."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site, self.chance = site, chance
        self.asked: list[Asked] = []
        self.enough = False

    async def work(self) -> None:
        """Keep so many runs in progress until it is enough."""
        await asyncio.gather(*(self._one_after_another() for _ in range(MOST_OPEN)))

    async def _one_after_another(self) -> None:
        while not self.enough:
            name = self.chance.choice([*WORKFLOWS])
            one = Asked(uuid4().hex, name, self.chance.randint(2, 12), cancel=name == "long")
            self.asked.append(one)
            await self._submit(one)
            if one.cancel:
                await asyncio.sleep(self.chance.uniform(0, 0.5))
                await self._cancel(one)
            else:
                await self._until_final(one)

    async def _submit(self, one: Asked) -> None:
        given = {"n": one.n, "journal": str(self.site.folder / "journal")}
        path, headers = f"/workflows/{one.workflow}/run", {"Idempotency-Key": one.key}
        answer = await self._asking(
            "POST", path, json=given, headers=headers, params={"wait": "false"}
        )
        one.uid = answer["uid"]

    async def _cancel(self, one: Asked) -> None:
        await self._asking("POST", f"/workflows/run/{one.uid}/cancel")
        one.cancelled_at = time.time()

    async def _until_final(self, one: Asked) -> dict[str, Any]:
        while True:
            run = await self.state(one)
            if run["state"] in FINAL:
                return run
            await asyncio.sleep(0.05)

    async def state(self, one: Asked) -> dict[str, Any]:
        """Return how a run stands."""
        return await self._asking("GET", f"/workflows/run/{one.uid}")

    async def _asking(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Ask until there is an answer."""
        headers = {"Accept": MEDIA, **options.pop("headers", {})}
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self.site.http.request(method, path, headers=headers, **options)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    found: dict[str, Any] = answer.json()
                    return found
            await asyncio.sleep(0.02)


async def campaign(
    folder: Path,
    *,
    kills: int,
    seed: int,
    executor: str = "local",
    pace: float = 1.0,
    told: bool = False,
) -> Counts:
    """Kill so often, and count what came of it.

    :param pace: seconds from the start of a server, or the end of a worker, to the next at most
    """
    chance, counts = random.Random(seed), Counts()
    site = Site(folder, executor)
    await site.start()
    for name, (stages, _) in WORKFLOWS.items():
        spec = {"stages": stages, "options": OPTIONS.get(name, {})}
        document = {"kind": "workflow", "metadata": {"name": name}, "spec": spec}
        (await site.http.post("/workflows", json=document)).raise_for_status()
    clients = Clients(site, chance)
    working = asyncio.create_task(clients.work())
    for number in range(kills):
        await asyncio.sleep(chance.uniform(0.05, pace))
        if working.done():
            working.result()
        if chance.random() < 0.5 and site.kill_worker(chance):
            counts.kills_of_workers += 1
        else:
            await site.kill_server()
            counts.kills_of_servers += 1
        if told and number % 10 == 9:
            print(f"{number + 1} kills, {len(clients.asked)} runs", flush=True)
    clients.enough = True
    await asyncio.wait_for(working, END_SECONDS)
    await _judge(site, clients, counts)
    await site.stop()
    await _account(folder, clients, counts)
    counts.orphans = await _left(site)
    counts.shared_memory_left = sum(folder.exists() for folder in site.memories)
    return counts


async def _judge(site: Site, clients: Clients, counts: Counts) -> None:
    """Ask what became of each run."""
    counts.runs = len(clients.asked)
    for one in clients.asked:
        answer = await site.http.get(f"/workflows/run/{one.uid}", headers={"Accept": MEDIA})
        if answer.status_code == 404:
            counts.lost += 1
            continue
        run = answer.json()
        counts.resumed += bool(run["resumed"])
        right = WORKFLOWS[one.workflow][1](one.n)
        if one.cancel:
            good = run["state"] == "cancelled"
            counts.cancelled += good
        else:
            good = run["state"] == "finished" and run["result"] == right
            counts.finished += good
        if not good and GIVEN_UP in json.dumps(run.get("failure")):
            counts.given_up += 1
        elif not good:
            counts.wrong += 1
            counts.notes.append(
                f"{one.workflow} {run['name']}: {run['state']} {run.get('failure')}"
            )


async def _told(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Yield the events that were kept."""
    storage = SqliteStorage(app_dir=folder)
    await storage.start()
    page = EventPage({}, -1)
    while page.next:
        page = await storage.read_events(EventQuery(after=max(0, page.next), limit=1000))
        for text in page.entries.values():
            yield json.loads(text)
        if not page.entries:
            break
    await storage.stop()


async def _account(folder: Path, clients: Clients, counts: Counts) -> None:
    """Compare what is on record with what stages wrote down themselves."""
    ends: Counter[str] = Counter()
    stages: Counter[tuple[str, str]] = Counter()
    async for event in _told(folder):
        data = event["data"]
        if event["type"] == RUN_FINISHED:
            ends[data["uid"]] += 1
        if event["type"] == STAGE_CHANGED and data["state"] == "finished":
            stages[data["run"], data["stage"]] += 1
    counts.ended_twice = sum(count > 1 for count in ends.values())
    again = [key for key, count in stages.items() if count > 1]
    counts.stages_done_twice = len([1 for _, stage in again if stage != "large"])
    for key in again:
        if key[1] != "large":  # whose result is too large to be stored
            counts.notes.append(f"done twice: {key}")
    cancelled = {one.uid: one.cancelled_at for one in clients.asked if one.cancelled_at}
    elements: Counter[tuple[str, str, str]] = Counter()
    for at, uid, stage, item, what in journal(folder):
        if what == "begin" and uid in cancelled and at > cancelled[uid]:
            counts.begun_after_cancel += 1
        if what == "end" and item != "None":
            elements[uid, stage, item] += 1
    counts.elements_done_again = sum(count - 1 for count in elements.values())


def journal(folder: Path) -> Iterator[tuple[float, str, str, str, str]]:
    """Yield what stages wrote down."""
    with (folder / "journal").open() as file:
        for line in file:
            at, uid, stage, item, what, _ = line.split()
            yield float(at), uid, stage, item, what


async def _left(site: Site) -> int:
    """Return how many processes there still are, once they had time to end."""

    def alive() -> list[int]:
        found = []
        for pid, begun in site.pids.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == begun and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found

    for _ in range(100):
        if not alive():
            return 0
        await asyncio.sleep(0.1)
    return len(alive())


def main() -> None:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between kills, at most")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="flowdapt-chaos-"))
    folder.mkdir(exist_ok=True, parents=True)
    how = {name: getattr(given, name) for name in ("kills", "seed", "executor", "pace")}
    counts = asyncio.run(campaign(folder, **how, told=True))
    print(json.dumps(asdict(counts), indent=2))
    sys.exit(1 if counts.faults else 0)


if __name__ == "__main__":
    main()
