"""A process that forks workers on request, so that a new one is there in milliseconds.

It imports the kernel and what the settings name, nothing of the user's, and computes nothing. When
the server is gone it ends its workers, whatever they are doing, and then itself.

From the server: names of modules to import, then for each worker a number and its facts, with its
socket and its output as descriptors.
To the server: ``("forked", pid, number)`` with the number of the request, and
``("exited", pid, status)``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from flowdapt_workers import wire, worker

_DIE_WITH_PARENT = 1  #: PR_SET_PDEATHSIG of Linux


def main() -> None:
    """Serve until the server is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    first = _receive(control)
    if first is None:
        return
    _preload(*first[0])
    children: set[int] = set()
    wakeup, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    with contextlib.suppress(ConnectionError):  # the server may go at any moment
        _serve(control, wakeup, signalled, children)
    signal.set_wakeup_fd(-1)
    for pid in children:
        os.kill(pid, signal.SIGKILL)  # it is ours until it is reaped, so the number is its own
    for pid in children:
        os.waitpid(pid, 0)


def _serve(
    control: socket.socket, wakeup: socket.socket, signalled: socket.socket, children: set[int]
) -> None:
    """Fork and reap, until the server is gone."""
    while True:
        ready, _, _ = select.select([control, wakeup], [], [])
        if wakeup in ready:
            wakeup.recv(4096)
            _reap(control, children)
        if control in ready:
            request = _receive(control)
            if request is None:
                return
            (number, facts), descriptors = request
            pid = _fork(facts, descriptors, others=(control, wakeup, signalled))
            children.add(pid)
            control.sendall(wire.encode(("forked", pid, number)))


def _preload(names: Sequence[str]) -> None:
    """Import what all workers are to share."""
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # without this process nothing is computed
            said = f"flowdapt: {name!r} of the setting 'preload' is left out: {error!r}\n"
            sys.stderr.write(said)
    gc.collect()
    gc.freeze()  # so that collections in a worker do not copy the pages it shares with us


def _fork(facts: Any, descriptors: list[int], others: Sequence[socket.socket]) -> int:
    """Return the process id of a new worker."""
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for end in others:
            end.close()
        _become_worker(facts, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _receive(control: socket.socket) -> tuple[Any, list[int]] | None:
    """Return the next message and the descriptors that came with it."""
    try:
        head, descriptors, _, _ = socket.recv_fds(control, wire.LENGTH.size, 2)
    except ConnectionError:
        return None
    if len(head) < wire.LENGTH.size:
        return None
    (length,) = wire.LENGTH.unpack(head)
    body = bytearray()
    while len(body) < length:
        body += control.recv(length - len(body))
    return pickle.loads(body), descriptors  # noqa: S301 - from the server that started us


def _reap(control: socket.socket, children: set[int]) -> None:
    for pid in tuple(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            control.sendall(wire.encode(("exited", pid, status)))


def _become_worker(facts: Any, descriptors: list[int]) -> None:
    """Turn the fork into a worker; never returns."""
    status = 1
    try:
        _die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end, output = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        worker.serve(socket.socket(fileno=end), facts)
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _die_with_parent() -> None:
    """Have Linux end this process when the zygote is killed; elsewhere it stays."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
