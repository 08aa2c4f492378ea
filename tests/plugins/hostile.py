"""Starts servers beside plugins that do harm: all of them at once, in groups, and each alone.

    python -m tests.plugins.hostile [--group 20] [--alone]

Each server has to answer, to run a workflow, and to end as it should on SIGTERM; and each plugin
has to be named with what it did. Verdicts are not kept from one start to the next.
"""

# ruff: noqa: T201 - a program that tells what it counted

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tests.plugins.hostile_kinds import everything
from tests.sites import Site

PLUGINS = everything()
WORKFLOW = (
    "kind: workflow\nmetadata: {name: farm}\nspec: {stages: [{name: a, target: builtins.dict}]}"
)
SECONDS = 300.0  #: until something that should happen counts as not happening


def install(folder: Path, names: Collection[str] = tuple(PLUGINS)) -> Site:
    """Install hostile plugins in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(folder)
    for name in names:
        one = PLUGINS[name]
        about = site.install(name, one.source, requires=one.requires, entry=one.entry)
        for file, text in one.metadata.items():
            (about / file).write_bytes(text.encode("latin-1"))
    return site


def environment(site: Site, app_dir: Path) -> dict[str, str]:
    """Return the environment of a program that finds these plugins."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWDAPT")}
    return {**kept, "PYTHONPATH": str(site.folder), "FLOWDAPT__APP_DIR": str(app_dir)}


def wrong(found: Collection[dict[str, Any]], names: Collection[str]) -> Iterator[str]:
    """Name each plugin that is not in the state it should be in, or not for the reason.

    :param found: as ``flowdapt plugins list -o json`` has them
    """
    records = {record["name"].removesuffix("-1.0.dist-info"): record for record in found}
    for name in names:
        one, record = PLUGINS[name], records.get(name)
        if record is None:
            yield f"{name} is not listed"
        elif record["state"] != one.state or one.words not in record["reason"]:
            yield f"{name} is {record['state']}: {record['reason'][:200]!r}, not {one.words!r}"


def listed(site: Site, app_dir: Path) -> list[dict[str, Any]]:
    """Return what the program says of all plugins."""
    done = subprocess.run(
        [sys.executable, "-m", "flowdapt", "plugins", "list", "-o", "json"],
        env=environment(site, app_dir),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    records: list[dict[str, Any]] = json.loads(done.stdout)
    return records


def served(site: Site, app_dir: Path) -> str:
    """Start a server, run a workflow there, stop it, and return its log.

    :raises AssertionError: something of this went wrong
    """
    variables = environment(site, app_dir)
    log = app_dir / "server.log"
    app_dir.mkdir(parents=True, exist_ok=True)
    (app_dir / "farm.yaml").write_text(WORKFLOW)
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "flowdapt", "-o", "rpc.api.port=0", "serve"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        address = _address(server, log)
        for command in (["apply", str(app_dir / "farm.yaml")], ["run", "farm"]):
            done = subprocess.run(
                [sys.executable, "-m", "flowdapt", "--server", address, *command],
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        server.terminate()
        assert server.wait(SECONDS) == 0, log.read_text()[-2000:]
    finally:
        server.kill()
        server.wait()
    return log.read_text()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        said = log.read_text(errors="replace").partition("serves at ")[2]
        if "," in said:
            return said.partition(",")[0]
        time.sleep(0.02)  # the log is a file, because a pipe would fill
    raise AssertionError(f"no server came up:\n{log.read_text(errors='replace')[-2000:]}")


def campaign(groups: list[list[str]]) -> int:
    """Start a server beside each group, tell what went wrong, and return how often it did."""
    failures = started = 0
    begun = time.monotonic()
    for names in groups:
        with tempfile.TemporaryDirectory() as folder:
            site = install(Path(folder, "site"), names)
            try:
                served(site, Path(folder, "app"))
                started += 1
                faults = [*wrong(listed(site, Path(folder, "app")), names)]
            except (AssertionError, subprocess.SubprocessError, ValueError) as error:
                faults = [f"beside {names[:3]}: {error}"]
        failures += bool(faults)
        for fault in faults:
            print(fault, flush=True)
    print(f"{started} of {len(groups)} servers started, beside {len(groups[0])} plugins each")
    print(f"{failures} had something wrong; {time.monotonic() - begun:.0f} s", flush=True)
    return failures


def main() -> None:
    """Start servers beside all at once, beside groups, and beside each alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", type=int, default=20)
    parser.add_argument("--alone", action="store_true")
    args = parser.parse_args()
    names = [*PLUGINS]
    grouped = [names[at : at + args.group] for at in range(0, len(names), args.group)]
    failures = campaign([names]) + campaign(grouped)
    if args.alone:
        with_company = {"offers_twice": ["offers_once"]}
        failures += campaign([[*with_company.get(name, ()), name] for name in names])
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
