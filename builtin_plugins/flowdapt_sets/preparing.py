"""Prepares a set on the node where this runs: unpack, verify, import, and only then let it be seen.

Everything happens in a folder of its own that is renamed in the end, under a lock, so that a set is
there whole or not at all, whoever is killed and however many processes want it at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowdapt_sets import paths, wheels
from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.sets import PluginSet, Wheel

IMPORT_SECONDS = 60.0  #: how long all plugins of a set may take to be imported
REPORT_CHARACTERS = 2000  #: of what an import wrote that failed

#: Returns the content of a wheel.
Source = Callable[[Wheel], bytes]

# Imports each module by itself, and says which one failed, and how.
_CHECK = """
import os, signal, sys
try:  # where the system can: end with who asked, killed or not
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
sys.path.insert(0, sys.argv[1])
from importlib.metadata import EntryPoint
for module in sys.argv[2:]:
    try:
        EntryPoint("", module, "").load()
    except BaseException as error:
        import traceback
        traceback.print_exc()
        sys.exit(f"{module} cannot be imported: {type(error).__name__}: {error}")
"""


def prepare(plugin_set: PluginSet, source: Source, folder: Path | None = None) -> Path:
    """Have a set on this node, and return its folder. At once where it is there.

    :param folder: in which sets are; by default, where nodes have them
    :raises SetUnusable: it cannot be, and nothing of it is there
    """
    folder = paths.node_folder() if folder is None else folder
    place = folder / plugin_set.id
    if paths.is_ready(plugin_set.id, folder):
        return place
    with _room(folder), _locked(folder, plugin_set.id):
        if not paths.is_ready(plugin_set.id, folder):
            part = folder / f".{plugin_set.id}"
            shutil.rmtree(part, ignore_errors=True)  # of somebody who was killed
            try:
                _make(plugin_set, source, part)
                shutil.rmtree(place, ignore_errors=True)  # without its mark, it is not whole
                part.rename(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return place


def _make(plugin_set: PluginSet, source: Source, part: Path) -> None:
    part.mkdir(mode=0o700, parents=True)
    for wheel in plugin_set.wheels:
        wheels.check_tags(wheel.file)
        content = source(wheel)
        if (found := wheels.digest(content)) != wheel.sha256:
            said = f"{wheel.file} has the hash {found[:16]}..., and not {wheel.sha256[:16]}..."
            raise SetUnusable(f"{said}: it is not the file that was collected")
        wheels.unpack(content, wheel.file, part)
    wheels.check(part)
    check_imports(plugin_set, part)
    _sync(part)
    (part / paths.MARK).write_text(plugin_set.to_json())


def check_imports(plugin_set: PluginSet, place: Path) -> None:
    """Import the plugins of a set in a process of their own.

    :raises SetUnusable: one cannot be; says which, and why
    """
    if not plugin_set.modules:
        return
    path = os.pathsep.join(os.path.abspath(e) for e in sys.path if e and not paths.is_set(e))
    command = [sys.executable, "-P", "-c", _CHECK, str(place), *plugin_set.modules]
    try:
        code, wrong = _run(
            command,
            # What compiles costs more than all else, and is done when it is first used.
            {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except subprocess.TimeoutExpired:
        said = f"{', '.join(plugin_set.modules)} took longer than {IMPORT_SECONDS:g} s to import"
        raise SetUnusable(said) from None
    if code:
        last = wrong.strip().rpartition("\n")[2][-REPORT_CHARACTERS:]
        ended = f"the import of {', '.join(plugin_set.modules)} ended with {code}"
        raise SetUnusable(last or ended)


_running: set[subprocess.Popen[str]] = set()  # what imports, in whatever thread waits for it


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a program, and return how it ended and what it said; its children end with it."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as process:
        _running.add(process)
        try:
            _, wrong = process.communicate(timeout=IMPORT_SECONDS)
        finally:
            _running.discard(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, wrong


def give_up() -> None:
    """End what is being imported, as where nobody waits for it any more."""
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def problem_of(plugin_set: PluginSet, folder: Path | None = None) -> str:
    """Say what is wrong with a set on this node; nothing where it is whole, file by file."""
    folder = paths.node_folder() if folder is None else folder
    if not paths.is_ready(plugin_set.id, folder):
        return "it is not prepared"
    try:
        wheels.check(folder / plugin_set.id)
    except SetUnusable as error:
        return str(error)
    return ""


def is_whole(plugin_set: PluginSet, folder: Path | None = None) -> bool:
    """Tell whether a set is here, file by file; one that is not so is prepared anew from now on."""
    folder = paths.node_folder() if folder is None else folder
    if not problem_of(plugin_set, folder):
        return True
    with suppress(OSError):
        (folder / plugin_set.id / paths.MARK).unlink()
    return False


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into an error that says where."""
    try:
        yield
    except OSError as error:
        full = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise SetUnusable(f"nothing can be unpacked in {folder}: {full}") from error


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / f".{name}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync(part: Path) -> None:
    """Have what was unpacked on the disk before it counts, as far as one call can."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
