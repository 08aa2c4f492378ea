"""Removes what nobody can come back to: sets, and wheels that only they had.

Kept is what is active, what a rollback can reach, and what runs in progress began with.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from flowdapt.runs import RunState
from flowdapt.storage import RunQuery, Storage
from flowdapt_installer.asking import KEPT, Site, hash_in
from flowdapt_installer.records import KEPT_BEFORE, StoredSet

GRACE_SECONDS = 24 * 3600.0  #: a wheel that was sent is kept so long for whoever will ask for it


async def sweep(site: Site, storage: Storage) -> None:
    """Remove what is of no use any more, here and in the storage."""
    used = set[str]()
    for pointer in await site.records.all_active():
        used |= {pointer.spec.active, *pointer.spec.before}
    done = [one.spec.active for one in await site.records.changes() if one.spec.state == "done"]
    used |= {*[*dict.fromkeys(done[::-1])][:KEPT_BEFORE]}  # also what somebody went back from
    states = (RunState.PENDING, RunState.RUNNING)
    used |= {stored.run.plugin_set for stored in await storage.list_runs(RunQuery(states=states))}
    found = await site.records.sets()
    kept = [one for one in found if one.metadata.name in used]
    hashes = {sha256 for one in kept for sha256 in _hashes(one)}
    for one in found:
        if one.metadata.name not in used:
            await storage.delete(one.kind, one.metadata.uid)
    await asyncio.to_thread(_remove, site.folder, {one.metadata.name for one in kept})
    await asyncio.to_thread(_remove, site.warehouse.folder, hashes, grace=GRACE_SECONDS)


def _hashes(one: StoredSet) -> Iterable[str]:
    yield from (wheel.sha256 for wheel in one.plugin_set.wheels)
    for wanted in one.spec.wanted.values():
        if wanted.requirement.startswith(KEPT):
            yield hash_in(wanted.requirement)


def _remove(folder: Path, keep: set[str], *, grace: float = 0.0) -> None:
    """Remove the folders in a folder that have other names, unless they are younger than that."""
    if not folder.is_dir():
        return
    for place in folder.iterdir():
        name = place.name.removeprefix(".").removesuffix(".lock")
        if name not in keep and time.time() - place.stat().st_mtime > grace:
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)
