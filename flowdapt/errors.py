"""Every error that flowdapt raises on purpose, as one tree.

Messages state the fact in lower case with the offending name, and say what to do where that is
known. None of them knows of HTTP or of exit codes; the plugins that speak those translate.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `` (did you mean 'x' or 'y'?)``, or nothing where no name is near."""
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(n) for n in near)}?)" if near else ""


class FlowdaptError(Exception):
    """Anything that flowdapt refuses or reports on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Of an exception, Python keeps the message and would make it again from that: but most of
        # ours are made from what is at fault.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # typeshed lacks it


# Settings and plugins ------------------------------------------------------------------------


class SettingsError(FlowdaptError):
    """A settings file, variable or override cannot be used."""


class PluginError(FlowdaptError):
    """A plugin, or what it offers, cannot be used."""


class ProviderNotFound(PluginError):
    """No plugin offers a part of that name."""

    def __init__(self, part: str, name: str, known: Sequence[str], advice: str = "") -> None:
        offered = f"; there are {', '.join(map(repr, known))}" if known else "; none is installed"
        super().__init__(f"no {part} named {name!r}{nearest(name, known) or offered}{advice}")
        self.part, self.name, self.known = part, name, tuple(known)


class ProviderFailed(PluginError):
    """A part was found, but importing it failed."""


# Resources and runs --------------------------------------------------------------------------


class ResourceError(FlowdaptError):
    """A resource, or a request about one, is refused."""


class ResourceNotFound(ResourceError):
    """No resource of that kind has that name or uid."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no {kind} named {name!r}")
        self.kind, self.name = kind, name


class ResourceExists(ResourceError):
    """A resource of that kind has that name already."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"a {kind} with name {name!r} already exists")
        self.kind, self.name = kind, name


class Conflict(FlowdaptError):
    """What is asked for does not go with what is in progress."""


class ResourceChanged(ResourceError):
    """Somebody else changed the resource since it was read.

    :ivar errors: what they changed, where that is known: ``loc``, ``msg`` and ``type`` of each
    """

    errors: Sequence[Mapping[str, Any]] = ()

    def __init__(self, kind: str, name: str, expected: int, found: int) -> None:
        super().__init__(
            f"{kind} {name!r} was changed meanwhile: generation {found}, not {expected}; "
            "read it again and repeat the change"
        )
        self.kind, self.name, self.expected, self.found = kind, name, expected, found


class InvalidResource(ResourceError):
    """What was given is no valid resource.

    :param errors: one mapping for each fault: ``loc`` (path of the field), ``msg`` and ``type``
    """

    def __init__(self, where: str, errors: Sequence[Mapping[str, Any]]) -> None:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in errors]
        super().__init__(f"{where}: {'; '.join(lines)}")
        self.where, self.errors = where, [dict(e) for e in errors]

    @classmethod
    def at(cls, where: str, loc: Sequence[str | int], msg: str) -> InvalidResource:
        """Build the error for a single fault."""
        return cls(where, [{"loc": tuple(loc), "msg": msg, "type": "value_error"}])


class InvalidInput(ResourceError):
    """The input of a run is not an object of named values."""


class Draining(FlowdaptError):
    """The server finishes what runs and accepts nothing new."""

    def __init__(self) -> None:
        super().__init__("Service is draining, no new workflow runs accepted")


class UnlawfulTransition(FlowdaptError):
    """A run may not go from that state to the other."""

    def __init__(self, run: str, old: str, new: str) -> None:
        super().__init__(f"run {run!r} is {old} and cannot become {new}")
        self.run, self.old, self.new = run, old, new


# Stages --------------------------------------------------------------------------------------


class StageError(FlowdaptError):
    """A stage cannot be computed."""


class TargetNotFound(StageError):
    """A stage's target cannot be imported, or its module has no such function."""

    def __init__(self, target: str, reason: str, *, mistyped: bool = False) -> None:
        super().__init__(f"target {target!r} cannot be imported: {reason}")
        self.target, self.reason = target, reason
        #: the module was imported and lacks the name: a mistake whatever happens later
        self.mistyped = mistyped


class ResultNotPicklable(StageError):
    """A stage returned something that cannot leave its process."""


class MemoryFull(StageError):
    """There is no room for an object, in memory or on disk."""


class WorkerLost(StageError):
    """The process that computed a stage died."""

    def __init__(self, stage: str, cause: str, times: int = 1) -> None:
        often = f", {times} times in a row" if times > 1 else ""
        super().__init__(f"stage {stage!r} lost its worker process ({cause}){often}")
        self.stage, self.cause, self.times = stage, cause, times


class ResultsLost(StageError):
    """Results that a stage takes are gone with what computed them, such as a cluster."""


class NeverFits(StageError):
    """A stage asks for more of a resource than the executor will ever have."""

    def __init__(self, stage: str, resource: str, asked: float, total: float) -> None:
        super().__init__(
            f"stage {stage!r} asks for {asked:g} {resource}, and the executor has {total:g} in all"
        )
        self.stage, self.resource, self.asked, self.total = stage, resource, asked, total


class RunCancelled(StageError):
    """The run was cancelled."""

    def __init__(self, reason: str = "the run was cancelled") -> None:
        super().__init__(reason)


# Servers -------------------------------------------------------------------------------------


class StorageError(FlowdaptError):
    """The storage cannot be opened, read or written."""


class ServerError(FlowdaptError):
    """A server cannot start or go on."""
