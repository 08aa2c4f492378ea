"""Finds plugins, refuses bad ones, and resolves what they offer on first use.

A plugin can fail, the host cannot. Each plugin climbs a ladder alone: discovered, loaded, healthy;
whatever it does on the way ends as a reason in its record, and the others go on. Those that come
with flowdapt itself go first, so that one of them can judge the others, see ``flowdapt_judge``.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib import metadata
from traceback import TracebackException
from typing import TYPE_CHECKING, Any

import pluggy

from flowdapt import __version__, hooks
from flowdapt.errors import PluginError, ProviderFailed, ProviderNotFound, nearest
from flowdapt.hooks import NAMESPACE, Provider, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from importlib.metadata import Distribution, EntryPoint
    from pathlib import Path

    from flowdapt.events import Event

logger = logging.getLogger(__name__)

GROUP = "flowdapt.plugins"  #: the entry points that are plugins
HOOKS_VERSION = 1  #: a plugin that needs a newer one says so as ``flowdapt_hooks_version``
MOST_FAILURES = 3  #: a plugin that fails on so many events in a row is told of no more

#: Which built-in plugin brings a name, so that the error for a removed one can say so.
BUILT_IN = {
    "files": "flowdapt_cli",
    "run": "flowdapt_embedded",
    **{name: f"flowdapt_{name}" for name in ("client", "local", "sqlite", "rest")},
}


class State(Enum):
    """How far up the ladder a plugin has come."""

    DISCOVERED = "discovered"
    INCOMPATIBLE = "incompatible"
    DISABLED = "disabled"
    LOADED = "loaded"
    HEALTHY = "healthy"
    QUARANTINED = "quarantined"


_LAWFUL = {
    State.DISCOVERED: {State.INCOMPATIBLE, State.DISABLED, State.LOADED, State.QUARANTINED},
    State.LOADED: {State.HEALTHY, State.QUARANTINED},
    State.HEALTHY: {State.QUARANTINED},
    State.QUARANTINED: {State.DISABLED},  # of what could not even be read
}


@dataclass(slots=True)
class Plugin:
    """What is known about one plugin.

    :param name: the distribution's name; the entry point's where flowdapt itself brings it; both,
        as ``distribution:entry``, for the second plugin of a distribution and on
    :param reason: why it is not healthy, and what to do where that is known
    :param traceback: where it failed, or what it wrote before it died
    :param provides: what it offers, or would offer, each as ``part:name``
    :param failures: on how many events in a row it has failed
    """

    name: str
    distribution: str
    version: str
    entry: EntryPoint = field(repr=False)
    state: State = State.DISCOVERED
    reason: str = ""
    traceback: str = field(default="", repr=False)
    provides: tuple[str, ...] = ()
    failures: int = 0

    @property
    def built_in(self) -> bool:
        """Whether it comes with flowdapt itself."""
        return self.distribution == NAMESPACE

    def become(self, state: State, reason: str = "", traceback: str = "") -> None:
        """Go up the ladder, or fall from it."""
        if state not in _LAWFUL.get(self.state, ()):
            raise AssertionError(f"{self.name} is {self.state} and cannot become {state}")
        self.state, self.reason, self.traceback = state, reason, traceback

    def to_dict(self) -> dict[str, Any]:
        """Return what scripts read, as plain data; the traceback is for people."""
        plain = {"name": self.name, "version": self.version, "state": self.state.value}
        return {**plain, "reason": self.reason, "provides": [*self.provides]}


class Plugins:
    """The plugins of this process, what they offer, and who is told of events."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(NAMESPACE)
        self._manager.add_hookspecs(hooks)
        self._plugins: dict[str, Plugin] = {}
        self._offers: dict[tuple[str, str], tuple[Provider, Plugin]] = {}

    @classmethod
    def load(
        cls,
        *,
        disabled: Collection[str] = (),
        safe_mode: bool = False,
        cache_dir: Path | None = None,
        distributions: Iterable[Distribution] | None = None,
    ) -> Plugins:
        """Find all plugins and take each as far as it gets.

        :param disabled: names of plugins, distributions or entry points that are left alone
        :param safe_mode: leave alone whatever does not come with flowdapt itself
        :param cache_dir: where verdicts on plugins are kept; without it, each load tries them anew
        :param distributions: where plugins are looked for, in place of all on ``sys.path``
        """
        plugins = cls()
        plugins._plugins = _named(_found(distributions))
        for plugin in plugins.list():
            _leave_out(plugin, {*map(_normal, disabled)}, safe_mode=safe_mode)
        strangers = [plugin for plugin in plugins.list() if not plugin.built_in]
        # What plugins print while they are loaded must not end up in a command's output.
        with contextlib.redirect_stdout(sys.stderr):
            plugins._climb([plugin for plugin in plugins.list() if plugin.built_in])
            plugins._judge(strangers, cache_dir)
            plugins._climb(strangers)
        return plugins

    def list(self) -> tuple[Plugin, ...]:
        """Return all that were found, built-in ones first, whatever became of them."""
        return tuple(self._plugins.values())

    def loaded(self, name: str) -> Any:
        """Return what a healthy plugin's entry point stands for, such as its package, or None."""
        return self._manager.get_plugin(name)

    def providers(self, part: str) -> dict[str, Provider]:
        """Return what healthy plugins offer, by name.

        :param part: such as ``executors``, for the hook ``flowdapt_executors``
        """
        return {one.name: one for (of, _), (one, _) in self._offers.items() if of == part}

    def resolve(self, part: str, name: str) -> Any:
        """Import what is offered under ``name``.

        :param name: a provider's name or one of its aliases
        :raises ProviderNotFound: no healthy plugin offers it; says which other one would
        :raises ProviderFailed: it cannot be imported; says which extra is missing, if one is
        """
        single = part.removesuffix("s")
        if (part, name) not in self._offers:
            advice = self._advice(part, name)
            raise ProviderNotFound(single, name, sorted(self.providers(part)), advice)
        provider, plugin = self._offers[part, name]
        try:
            return hooks.load(provider.target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it may be a stranger's module, and call sys.exit
            missing = provider.extra and isinstance(error, ImportError)
            advice = f"; try: pip install 'flowdapt[{provider.extra}]'" if missing else ""
            raise ProviderFailed(
                f"{single} {name!r} of the plugin {plugin.name} cannot be imported "
                f"from {provider.target}: {_brief(error)}{advice}"
            ) from error

    def importable(
        self, part: str, names: Iterable[str], *, what: str
    ) -> Iterator[tuple[str, Any]]:
        """Import what is offered under each name; what cannot be is logged and left out.

        :param what: what one is called in the log
        """
        for name in names:
            try:
                found = self.resolve(part, name)
            except PluginError:
                logger.exception("%s %r is left out", what, name)
            else:
                yield name, found

    @property
    def listen(self) -> bool:
        """Whether any plugin reacts to events."""
        return bool(self._manager.hook.flowdapt_event.get_hookimpls())

    def notify(self, event: Event) -> None:
        """Tell every healthy plugin of ``event``; what one of them raises stays with it.

        A plugin that fails on event after event is quarantined. What it offers can still be
        resolved, because runs may depend on it.
        """
        for implementation in reversed(self._manager.hook.flowdapt_event.get_hookimpls()):
            plugin = self._plugins[implementation.plugin_name]
            error = _failure_of(implementation.function, *[event for _ in implementation.argnames])
            plugin.failures = 0 if error is None else plugin.failures + 1
            if error is None:
                continue
            logger.error("plugin %s failed on an event", plugin.name, exc_info=error)
            if plugin.failures == MOST_FAILURES:
                failed = f"flowdapt_event failed {MOST_FAILURES} times in a row"
                self._quarantine(plugin, failed, error)
                logger.error("plugin %s is quarantined and told of no more events", plugin.name)

    def why_not(self, name: str) -> str:
        """Say in half a sentence why the plugin ``name`` does not help, and what to do."""
        plugin = self._plugins.get(name)
        if plugin is None:
            return f"the built-in plugin {name}, which is not installed here: reinstall flowdapt"
        see = "; see flowdapt plugins doctor" if plugin.state is State.QUARANTINED else ""
        return f"the plugin {name}, which is {plugin.state.value}: {plugin.reason}{see}"

    def _advice(self, part: str, name: str) -> str:
        would = [p.name for p in self._plugins.values() if f"{part}:{name}" in p.provides]
        builder = would[0] if would else BUILT_IN.get(name)
        lost = builder and self.loaded(builder) is None
        return f"; it comes with {self.why_not(builder)}" if builder and lost else ""

    # The ladder ------------------------------------------------------------------------------

    def _judge(self, strangers: Sequence[Plugin], folder: Path | None) -> None:
        verdicts: Mapping[str, Verdict] = {}
        if strangers:
            try:
                hook = self._manager.hook
                verdicts = hook.flowdapt_judge(plugins=strangers, folder=folder) or {}
            except Exception:
                logger.exception("plugins are imported without being tried first")
        for plugin in strangers:
            wanted = plugin.state is State.DISCOVERED
            verdict = verdicts.get(plugin.name) or Verdict(unfit=unfit(plugin) if wanted else "")
            plugin.provides = verdict.provides
            if wanted and verdict.unfit:
                plugin.become(State.INCOMPATIBLE, verdict.unfit)
            elif wanted and verdict.fault:
                plugin.become(State.QUARANTINED, verdict.fault, verdict.report)

    def _climb(self, plugins: Sequence[Plugin]) -> None:
        # Step by step for all, so that a hook is known before any plugin implements it.
        for step, failed, before in (
            (self._import, "import failed", State.DISCOVERED),
            (self._register, "its hooks are refused", State.LOADED),
        ):
            for plugin in plugins:
                error = _failure_of(step, plugin) if plugin.state is before else None
                if error is not None:
                    self._quarantine(plugin, failed, error)

    def _quarantine(self, plugin: Plugin, failed: str, error: BaseException) -> None:
        # Releases of pluggy before 1.7 leave a plugin registered in part when they refuse it.
        self._manager.unregister(name=plugin.name)
        trace = "".join(TracebackException.from_exception(error).format())
        plugin.become(State.QUARANTINED, f"{failed}: {_brief(error)}", trace)

    def _import(self, plugin: Plugin) -> None:
        loaded = plugin.entry.load()
        needed = getattr(loaded, "flowdapt_hooks_version", 0)
        if needed > HOOKS_VERSION:
            reason = f"needs hooks of version {needed}, and this flowdapt has {HOOKS_VERSION}"
            plugin.become(State.INCOMPATIBLE, f"{reason}: upgrade flowdapt")
        else:
            if any(self._manager.parse_hookspec_opts(loaded, name) for name in dir(loaded)):
                self._manager.add_hookspecs(loaded)
            plugin.become(State.LOADED)

    def _register(self, plugin: Plugin) -> None:
        loaded = plugin.entry.load()
        self._manager.register(loaded, plugin.name)
        offered = [*self._offered(loaded)]
        plugin.provides = tuple(f"{part}:{provider.name}" for part, provider in offered)
        new = {
            (part, name): (provider, plugin)
            for part, provider in offered
            for name in (provider.name, *provider.aliases)
        }
        for part, name in [taken for taken in new if taken in self._offers]:
            both = f"{self._offers[part, name][1].name} and {plugin.name}"
            raise ValueError(f"{part.removesuffix('s')} {name!r} is offered by {both}")
        self._offers |= new
        plugin.become(State.HEALTHY)

    def _offered(self, loaded: Any) -> Iterator[tuple[str, Provider]]:
        """Check the hooks of a plugin, and ask those that offer parts."""
        known = [name for name, hook in vars(self._manager.hook).items() if hook.has_spec()]
        for hook in self._manager.get_hookcallers(loaded) or ():
            (implementation,) = [one for one in hook.get_hookimpls() if one.plugin is loaded]
            if inspect.iscoroutinefunction(implementation.function):
                raise TypeError(f"{hook.name} is asynchronous, and hooks are not awaited")
            if hook.spec is None and not implementation.optionalhook:
                raise LookupError(f"no hook is named {hook.name!r}{nearest(hook.name, known)}")
            if hook.spec and not hook.spec.argnames:
                offered: Any = implementation.function()
                for provider in offered if isinstance(offered, Iterable) else [offered]:
                    if type(provider) is not Provider:  # of a subclass, any attribute might raise
                        raise TypeError(f"{hook.name} returned {provider!r:.50}, not providers")
                    yield hook.name.removeprefix("flowdapt_"), provider


@cache  # built-in plugins stay what they are as long as the process
def offered(part: str, name: str) -> Any:
    """Return what a built-in plugin offers, where there are no plugins loaded to ask.

    :raises ProviderNotFound: none does
    """
    return _built_in().resolve(part, name)


@cache  # a process asks for several, one at a time, and each loading takes tens of milliseconds
def _built_in() -> Plugins:
    return Plugins.load(safe_mode=True)


def _failure_of(call: Callable[..., object], *args: Any) -> BaseException | None:
    """Call what may be a stranger's code, and return what it raises, ``SystemExit`` included."""
    try:
        call(*args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


# Finding -------------------------------------------------------------------------------------


def _found(distributions: Iterable[Distribution] | None) -> Iterator[Plugin]:
    # Like metadata.entry_points, which parses every file and stops at the first broken one.
    seen = set()
    for distribution in metadata.distributions() if distributions is None else distributions:
        try:
            if GROUP not in (distribution.read_text("entry_points.txt") or ""):
                continue
            about, entries = distribution.metadata, distribution.entry_points.select(group=GROUP)
            name, version = ((about.get_all(key) or [""])[0] for key in ("Name", "Version"))
            if not name:
                raise ValueError("it says no name")
            found = [Plugin(one.name, name, version, one) for one in entries]
        except Exception as error:
            # Its folder has no public name; what cannot be read has none other to be known by.
            name = getattr(getattr(distribution, "_path", None), "name", "?")
            found = [Plugin(name, name, "", metadata.EntryPoint(name, "", GROUP))]
            found[0].become(State.QUARANTINED, f"its metadata cannot be read: {_brief(error)}")
        if _normal(name) not in seen:  # what comes first on sys.path hides what comes later
            seen.add(_normal(name))
            yield from found


def _named(plugins: Iterable[Plugin]) -> dict[str, Plugin]:
    """Return plugins by name, built-in ones first, so that nobody takes their names."""
    named: dict[str, Plugin] = {}
    for plugin in sorted(plugins, key=lambda p: (not p.built_in, p.distribution, p.entry.name)):
        both = f"{plugin.distribution}:{plugin.entry.name}"
        name = plugin.entry.name if plugin.built_in else plugin.distribution
        plugin.name = both if name in named else name
        named[plugin.name] = plugin
    return named


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _leave_out(plugin: Plugin, disabled: set[str], *, safe_mode: bool) -> None:
    names = {plugin.name, plugin.distribution, plugin.entry.name} - {NAMESPACE}
    if disabled & {*map(_normal, names)}:
        plugin.become(State.DISABLED, "remove it from plugins.disabled to use it")
    elif safe_mode and not plugin.built_in:
        plugin.become(State.DISABLED, "start without --safe-mode to use it")


def unfit(plugin: Plugin) -> str:
    """Say why ``plugin`` does not go with this flowdapt, or nothing where it does."""
    for line in (plugin.entry.dist.requires if plugin.entry.dist else None) or ():
        if line.lower().startswith(NAMESPACE):
            from packaging.requirements import Requirement  # slow to import

            with contextlib.suppress(ValueError):  # no requirement, and no installer heeds it
                needed = Requirement(line)
                applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
                fits = needed.specifier.contains(__version__, prereleases=True)
                if needed.name.lower() == NAMESPACE and applies and not fits:
                    return f"requires {line!r}, and this is {__version__}: upgrade one"
    return ""


def _brief(error: BaseException) -> str:
    """Return type and message in one line, also where making the message fails."""
    text = " ".join(str(TracebackException.from_exception(error)).split())
    return f"{type(error).__name__}: {text[:300]}".removesuffix(": ")
