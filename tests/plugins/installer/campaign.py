"""Installs that are hit by a fault at a random step, again and again, and what is left afterwards.

    python -m tests.plugins.installer.campaign --times 100

Of a cluster of three Dask workers and a server on it, something is killed, stopped or spoilt while
plugins are installed. After each time: every node computes with the same version, which is the one
that the server says is active; the change is on record as what became of it; nothing that a run had
began is lost; and the next install works.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flowdapt.client import NoServer, PluginChange
from flowdapt.errors import FlowdaptError
from tests.cluster_nodes import Environments, Machines, machines
from tests.plugins.cli.processes import Process
from tests.plugins.installer.sites import Site, orchard, serving
from tests.wheelhouse import wheel

STEPS = ("begin", "resolve", "collect", "prepare", "activate")
PREPARE_SECONDS = 4.0  #: how long nodes have; a healthy one needs a tenth of that


@dataclass
class Campaign:
    """What was done, and what was wrong."""

    cluster: Machines
    folder: Path
    chance: random.Random
    version: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    active: str = ""

    def run(self, times: int) -> None:
        """Do it so many times."""
        done = 0
        while done < times:
            with serving(self.cluster, self.folder / "app", *SETTINGS) as site:
                if not self.active:
                    self._install_one(site)
                alive = True
                while alive and done < times:
                    fault = self.chance.choice(FAULTS)
                    alive = self._hit(site, fault)
                    done += 1
            if not alive:
                with serving(self.cluster, self.folder / "app", *SETTINGS) as site:
                    self._look("the server was killed", site)

    def _install_one(self, site: Site) -> None:
        self.version += 1
        ended = site.install(self._wheel())
        self.active = f"{self.version}.0"
        assert ended.state == "done"

    def _wheel(self, extra: str = "") -> Path:
        return orchard(self.folder / "wheels", f"{self.version}.0", extra)

    def _hit(self, site: Site, fault: Callable[[Campaign, Site], bool]) -> bool:
        """Do one; tell whether the server is still there."""
        name = fault.__name__
        self.counts[name] += 1
        gate = self.folder / f"gate{sum(self.counts.values())}"
        begun = site.client.runs.start("versions", {"items": [str(gate)]})
        while not gate.with_name(f"{gate.name}.begun").exists():
            site.client.status()
        expected = self.active
        self.version += 1
        alive = fault(self, site)
        gate.touch()
        if not alive:
            return False
        run = site.client.runs.wait(begun)
        if run.value() != [expected]:
            self.wrong.append(f"{name}: a run in progress gave {run.value()}, not {expected}")
        if run.state != "finished":
            self.wrong.append(f"{name}: a run in progress {run.state}")
        self._look(name, site)
        return True

    def _look(self, name: str, site: Site) -> None:
        """See that all nodes have the version that is active, and that installing works."""
        *_, last = site.client.plugins.changes()
        self.counts[f"{last.state} at {last.step}"] += 1
        (active,) = [one for one in site.client.plugins.sets() if "*" in one.namespaces]
        (version,) = [d.version for d in active.distributions if d.name == "orchard"]
        met, _ = site.versions(9)
        if met != {version}:
            self.wrong.append(f"{name}: {met} were met, and {version} is active")
        done = last.state == "done"
        if done is not (version == f"{self.version}.0"):
            self.wrong.append(f"{name}: the change is {last.state}, and {version} is active")
        if problems := [one for one in site.client.plugins.nodes() if one.problem]:
            self.wrong.append(f"{name}: {problems}")
        self._install_one(site)
        if site.versions(9)[0] != {self.active}:
            self.wrong.append(f"{name}: the next install had no effect")


# The faults ----------------------------------------------------------------------------------


def _begin(campaign: Campaign, site: Site, file: Path) -> str:
    sent = site.client.plugins.send(file.name, file.read_bytes())
    return site.client.plugins.begin("install", [sent]).id


def _until(site: Site, change: str, step: str) -> None:
    """Follow a change up to a step, or to its end where that was too quick to be seen."""
    for one in site.client.plugins.follow(change):
        if STEPS.index(one.step) >= STEPS.index(step):
            return


def _ended(site: Site, change: str) -> PluginChange:
    *_, last = site.client.plugins.follow(change)
    return last


def the_server_is_killed(campaign: Campaign, site: Site) -> bool:
    slow = "import time; time.sleep(0.2)\n" if campaign.chance.random() < 0.5 else ""
    change = _begin(campaign, site, campaign._wheel(slow))
    with suppress(FlowdaptError):
        _until(site, change, campaign.chance.choice(STEPS))
    site.process.signal(signal.SIGKILL)
    with suppress(FlowdaptError, NoServer):
        while True:
            site.client.status()
    return False


def a_node_is_killed(campaign: Campaign, site: Site) -> bool:
    change = _begin(campaign, site, campaign._wheel("import time; time.sleep(0.3)\n"))
    _until(site, change, campaign.chance.choice(STEPS[:4]))
    workers = [name for name in campaign.cluster.nodes if name != "scheduler"]
    name = campaign.chance.choice(workers)
    campaign.cluster.nodes.pop(name).kill()
    _ended(site, change)
    campaign.cluster.add(f"late{sum(campaign.counts.values())}")
    while len(site.client.plugins.nodes()) != len(workers) + 1:
        pass
    return True


def a_node_hangs(campaign: Campaign, site: Site) -> bool:
    workers = [name for name in campaign.cluster.nodes if name != "scheduler"]
    machine = campaign.cluster.nodes[campaign.chance.choice(workers)]
    machine.process.send_signal(signal.SIGSTOP)
    try:
        ended = _ended(site, _begin(campaign, site, campaign._wheel()))
    finally:
        machine.process.send_signal(signal.SIGCONT)
    if ended.state != "failed":
        campaign.wrong.append(f"a node that hangs was taken for ready: {ended.nodes}")
    return True


def the_installer_is_killed(campaign: Campaign, site: Site) -> bool:
    file = campaign._wheel("import time; time.sleep(0.3)\n")
    program = Process("--server", site.client.address, "plugins", "install", str(file))
    program.line(campaign.chance.choice(["resolve", "prepare"]))
    program.signal(signal.SIGKILL)
    program.kill()
    (*_, last) = site.client.plugins.changes()
    _ended(site, last.id)
    return True


def the_wheel_is_cut_off(campaign: Campaign, site: Site) -> bool:
    file = campaign._wheel()
    content = file.read_bytes()
    file.write_bytes(content[: campaign.chance.randrange(1, len(content))])
    _ended(site, _begin(campaign, site, file))
    return True


def the_kept_wheel_is_spoilt(campaign: Campaign, site: Site) -> bool:
    file = campaign._wheel("import time; time.sleep(0.2)\n")
    change = _begin(campaign, site, file)
    for place in (campaign.folder / "app" / "plugins" / "wheels").glob(f"*/{file.name}"):
        place.write_bytes(place.read_bytes()[:-1] + b"?")
    _ended(site, change)
    return True


def the_hash_is_another(campaign: Campaign, site: Site) -> bool:
    wanted = f"orchard @ {campaign._wheel().as_uri()} --hash=sha256:{'0' * 64}"
    _ended(site, site.client.plugins.begin("install", [wanted]).id)
    return True


def nothing_goes_with_it(campaign: Campaign, site: Site) -> bool:
    file = wheel(
        campaign.folder / "wheels", "orchard", f"{campaign.version}.0", {}, requires=["pluggy<1"]
    )
    _ended(site, _begin(campaign, site, file))
    return True


def a_disk_takes_no_more(campaign: Campaign, site: Site) -> bool:
    workers = [name for name in campaign.cluster.nodes if name != "scheduler"]
    sets = campaign.cluster.nodes[campaign.chance.choice(workers)].sets
    away = sets.with_name("away")
    sets.rename(away)
    sets.write_text("no folder any more: nothing can be made in it, whoever tries")
    try:
        _ended(site, _begin(campaign, site, campaign._wheel()))
    finally:
        sets.unlink()
        away.rename(sets)
    return True


FAULTS = [
    the_server_is_killed,
    a_node_is_killed,
    a_node_hangs,
    the_installer_is_killed,
    the_wheel_is_cut_off,
    the_kept_wheel_is_spoilt,
    the_hash_is_another,
    nothing_goes_with_it,
    a_disk_takes_no_more,
]
SETTINGS = [f"services.plugin_sets.prepare_seconds={PREPARE_SECONDS}"]


def campaign(folder: Path, times: int, seed: int) -> Campaign:
    """Run a campaign; see its ``wrong``."""
    environments = Environments()
    with machines("dask", environments, folder / "nodes", "node1", "node2", "node3") as cluster:
        made = Campaign(cluster, folder, random.Random(seed))
        made.run(times)
    return made


def main() -> None:
    """Run one from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = campaign(Path(folder), options.times, options.seed)
    counts = {"seed": options.seed, **made.counts, "wrong": made.wrong}
    sys.stdout.write(json.dumps(counts, indent=2) + os.linesep)


if __name__ == "__main__":
    main()
