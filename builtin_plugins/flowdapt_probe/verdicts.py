"""Verdicts on plugins, kept in a file until the plugin, flowdapt or Python is another."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flowdapt import __version__
from flowdapt.hooks import Verdict
from flowdapt.plugins import Plugin, State, unfit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.metadata import EntryPoint

FILE = "plugins.json"
PATIENCE_SECONDS = 1.0  #: after so long, somebody at a terminal is told what goes on
UNTRIED = "no child process could be started to try its import"  #: the fault that is not kept


@dataclass(frozen=True, slots=True)
class Kept(Verdict):
    """A verdict, and for what it holds.

    :param fingerprint: of what was judged; anything else is a new version
    :param site: when anything was last installed beside it; after that a fault is tried again
    """

    fingerprint: str = ""
    site: int = 0


def judge(plugins: Sequence[Plugin], folder: Path | None) -> Mapping[str, Verdict]:
    """Return verdicts by name: of all plugins that are discovered, and of others if known.

    :param folder: where verdicts are kept from one time to the next; without it, nowhere
    """
    if any(plugin.entry.dist is None for plugin in plugins):
        # Its metadata cannot be read. Pydantic reads that of all, to find plugins of its own, and
        # would fail at the first model: then nothing starts, and it is not said because of whom.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    slots = {plugin.name: _slot(plugin.entry) for plugin in plugins}
    kept = _recall(folder)
    asked = [plugin for plugin in plugins if plugin.state is State.DISCOVERED]
    unknown = [plugin for plugin in asked if not _holds(kept.get(slots[plugin.name]), plugin.entry)]
    if unknown:
        fresh = {slots[name]: verdict for name, verdict in _fresh(unknown).items()}
        kept = {slot: v for slot, v in kept.items() if os.path.exists(_folder(slot))} | fresh
        _keep(folder, {slot: v for slot, v in kept.items() if v.fault != UNTRIED})
    return {name: kept[slot] for name, slot in slots.items() if slot in kept}


def _fresh(plugins: Sequence[Plugin]) -> dict[str, Kept]:
    # Slow to import, and needed once for each version of a plugin.
    from concurrent.futures import ThreadPoolExecutor, wait

    with ThreadPoolExecutor((os.cpu_count() or 1) + 2) as pool:
        trials = {plugin.name: pool.submit(_judged, plugin) for plugin in plugins}
        try:
            _, slow = wait(trials.values(), PATIENCE_SECONDS)
            if slow and sys.stderr.isatty():
                sys.stderr.write(f"trying plugins that are new here: {len(slow)} to go\n")
            return {name: trial.result() for name, trial in trials.items()}
        except BaseException:  # such as Ctrl-C, which is not to wait for those that have not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _judged(plugin: Plugin) -> Kept:
    from flowdapt_probe.trials import tried

    mark, reason = _fingerprint(plugin.entry), unfit(plugin)
    found = Verdict(unfit=reason) if reason else tried(plugin.entry.value)
    # The folder is looked at afterwards, because an import itself may put files into it.
    site = _site(plugin.entry)
    return Kept(found.unfit, found.fault, found.report, found.provides, mark, site)


# The file ------------------------------------------------------------------------------------


def _slot(entry: EntryPoint) -> str:
    """Return the name under which a verdict is kept: a version, and where it is installed."""
    # The folder has no public name; its own name holds the distribution's name and version.
    return f"{getattr(entry.dist, '_path', '')}:{entry.name}"


def _folder(slot: str) -> str:
    return slot.rpartition(":")[0]


def _recall(folder: Path | None) -> dict[str, Kept]:
    try:
        kept = json.loads((folder / FILE).read_bytes()) if folder else {}
        return {slot: Kept(**v | {"provides": tuple(v["provides"])}) for slot, v in kept.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}  # missing or broken: everything is judged anew


def _keep(folder: Path | None, verdicts: Mapping[str, Kept]) -> None:
    with contextlib.suppress(OSError):  # a disk that is full or read-only costs time, no more
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            # Two programs may write at once: each has its own draft, and the later wins whole.
            draft = folder / f"{FILE}.{os.getpid()}"
            draft.write_text(json.dumps({slot: asdict(v) for slot, v in verdicts.items()}))
            draft.replace(folder / FILE)


# For how long a verdict holds ----------------------------------------------------------------


def _holds(verdict: Kept | None, entry: EntryPoint) -> bool:
    if verdict is None or verdict.fingerprint != _fingerprint(entry):
        return False
    return not verdict.fault or verdict.site == _site(entry)


def _fingerprint(entry: EntryPoint) -> str:
    """Return a text that changes whenever the plugin, flowdapt or Python does."""
    folder = Path(_folder(_slot(entry)))
    changed, origin = [_changed(folder / "RECORD")], b""
    with contextlib.suppress(OSError):
        origin = (folder / "direct_url.json").read_bytes()
    if not changed[0] or re.search(rb'"editable":\s*true', origin):
        changed += map(_changed, _sources(entry))
    return f"{entry.value} {__version__} {sys.version} {max(changed)} {len(changed)}"


def _sources(entry: EntryPoint) -> Iterator[str | Path]:
    with contextlib.suppress(Exception):  # finders of strangers take part
        if spec := find_spec(entry.module.partition(".")[0]):
            yield spec.origin or ""
            for folder in spec.submodule_search_locations or ():
                yield from Path(folder).rglob("*.py")


def _site(entry: EntryPoint) -> int:
    return _changed(str(entry.dist.locate_file(""))) if entry.dist else 0


def _changed(path: str | Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
