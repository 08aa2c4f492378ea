"""Every hook specification, in the order in which a server and a run meet them.

Hooks are synchronous and cheap, because pluggy cannot await and because they are called for every
command, even ``flowdapt --help``. A plural name offers parts: it returns providers, a name and an
address each, and the object behind an address is imported when it is first used. The others react.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from flowdapt.events import Event
    from flowdapt.plugins import Plugin

NAMESPACE = "flowdapt"  #: the pluggy project name; hooks of plugins carry it as a prefix

_Function = TypeVar("_Function", bound="Callable[..., Any]")
# Without options the marker is untyped in pluggy; the cast keeps the types of what it decorates.
_spec = cast("Callable[[_Function], _Function]", pluggy.HookspecMarker(NAMESPACE))
_spec_of_one_answer = pluggy.HookspecMarker(NAMESPACE)(firstresult=True)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@dataclass(frozen=True, slots=True)
class Provider:
    """A part that a plugin offers: a name and an address, not an object.

    :param name: what users write in settings, resources and on the command line
    :param target: ``package.module:attribute``, imported when the part is first used
    :param help: one line for people
    :param extra: the extra of ``flowdapt`` that installs what the target imports, if any
    :param aliases: further names that mean the same, such as import paths of earlier releases
    """

    name: str
    target: str
    help: str = ""
    extra: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = (self.name, self.target, self.help, self.extra or "", *self.aliases)
        sound = self.name and all(isinstance(text, str) for text in texts)
        if not sound or not re.fullmatch(r"[\w.]+:\w+", self.target):
            raise ValueError(f"{self} is not sound; a target is 'package.module:attribute'")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about a plugin before it is imported here.

    :param unfit: why it does not go with this flowdapt; empty where it does
    :param fault: why it must not be imported in this process; empty where it may
    :param report: the end of what it wrote before it failed, with its stack
    :param provides: what its hooks offer, each as ``part:name``
    """

    unfit: str = ""
    fault: str = ""
    report: str = ""
    provides: tuple[str, ...] = ()


def load(target: str) -> Any:
    """Import what an address names.

    :param target: ``package.module:attribute``
    :raises ImportError: the module cannot be imported, or has no such attribute
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except AttributeError:
        raise ImportError(f"module {module!r} has no {attribute!r}", name=module) from None


@_spec_of_one_answer
def flowdapt_judge(plugins: Sequence[Plugin], folder: Path | None) -> Mapping[str, Verdict]:
    """Judge plugins of strangers before they are imported here.

    Called once for each start of the program in which there are any, after the built-in plugins
    were loaded; so only those are asked, and the first that answers is believed. A plugin that is
    unfit is reported as incompatible, one with a fault is quarantined, and neither is imported.
    One without a verdict is imported if it goes with this flowdapt, see
    :func:`flowdapt.plugins.unfit`. What is raised here is logged, and then none has a verdict.

    :param plugins: all of strangers; only those that are still ``discovered`` may be tried, and of
        the others no more is told than is remembered
    :param folder: where verdicts may be kept from one time to the next; without it, nowhere
    :return: verdicts by the plugin's name
    """


@_spec
def flowdapt_commands() -> Iterable[Provider]:
    """Offer commands of the program ``flowdapt``.

    Called once for each start of the program, before anything else is read. Each ``target`` is a
    function in typer's style, or a ``typer.Typer`` for a group of commands; ``help`` is what the
    overview shows. A parameter ``ctx: typer.Context`` has as its ``obj`` what was given before the
    command: ``client()`` is a client of the server that is meant, to be used as a context, and
    ``settings()`` reads the settings.

    A name of two words, such as ``plugins new``, is a command within another one, which any plugin
    may offer as a group. It stands in ``flowdapt plugins --help`` and not in the overview, and
    takes no place of a command that the group has itself.

    :return: one provider for each command; names are unique across plugins
    """


@_spec
def flowdapt_readers() -> Iterable[Provider]:
    """Offer ways to read resources from where people write them.

    Called once, when something is to be read. Each ``target`` is a function that takes a path and
    returns objects with ``data``, a resource as plain data, and ``where``, its place for messages.
    It raises a :class:`flowdapt.errors.FlowdaptError` for what it cannot read.

    :return: one provider for each way; the built-in one is named ``files``
    """


@_spec
def flowdapt_exports() -> Iterable[Provider]:
    """Offer what programs in Python find in the package ``flowdapt``, such as ``flowdapt.run``.

    Called when such a name is first used; only the plugins that come with flowdapt are asked.

    :return: one provider for each name; names are unique across plugins
    """


@_spec
def flowdapt_kinds() -> Iterable[Provider]:
    """Offer kinds of resources beside the kernel's ``workflow`` and ``config``.

    Called once, before the storage is opened. Each ``target`` is a subclass of
    :class:`flowdapt.resources.Resource`; its ``kind`` is the provider's name.

    :return: one provider for each kind; names are unique across plugins
    """


@_spec
def flowdapt_storages() -> Iterable[Provider]:
    """Offer storages, the places where resources and runs are kept.

    Called once, before the settings choose one under ``database``. Each ``target`` is a subclass of
    :class:`flowdapt.storage.Storage`.

    :return: one provider for each storage; names are unique across plugins
    """


@_spec
def flowdapt_services() -> Iterable[Provider]:
    """Offer services, the long-lived parts of a server.

    Called once for each start of a server. Each ``target`` is a subclass of
    :class:`flowdapt.services.Service`. All are started, in the order of their ``order``.

    :return: one provider for each service; names are unique across plugins
    """


@_spec
def flowdapt_stages() -> Iterable[Provider]:
    """Offer stage types; those that come with flowdapt are ``simple`` and ``parameterized``.

    Called once, before a workflow is validated. Each ``target`` is a subclass of
    :class:`flowdapt.stages.StageType`.

    :return: one provider for each type; names are unique across plugins
    """


@_spec
def flowdapt_policies() -> Iterable[Provider]:
    """Offer policies: options of stages and workflows that say how these are computed.

    Called once for each start of a server. Each ``target`` is a subclass of
    :class:`flowdapt.policies.Policy`.

    :return: one provider for each policy; names are unique across plugins
    """


@_spec
def flowdapt_executors() -> Iterable[Provider]:
    """Offer executors, the places where stages are computed.

    Called once, before the settings choose one under ``services.compute.executor``. Each ``target``
    is a subclass of :class:`flowdapt.executors.Executor`.

    :return: one provider for each executor; names are unique across plugins
    """


@_spec
def flowdapt_memories() -> Iterable[Provider]:
    """Offer memories, which objects are shared through.

    Called once for each start of a server, before the settings choose one under ``memory``. Each
    ``target`` is a subclass of :class:`flowdapt.objects.Memory`, made with the application
    directory as ``app_dir`` and the options of the settings.

    :return: one provider for each memory; names are unique across plugins
    """
    raise AssertionError("specification only")


@_spec
def flowdapt_artifacts() -> Iterable[Provider]:
    """Offer what keeps artifacts.

    Called once for each start of a server; of several the last is taken, so that of another plugin
    rather than the built-in one. The ``target`` is a subclass of
    :class:`flowdapt.objects.Artifacts`, made in every process that asks, with ``protocol``,
    ``base_path`` and ``parameters`` as the settings have them under ``storage``.

    :return: one provider
    """
    raise AssertionError("specification only")


@_spec
def flowdapt_secrets() -> Iterable[Provider]:
    """Offer a keeper of secrets, which configs name as ``$secret{NAME}``.

    Called once for each start of a server; of several keepers the last is taken, so that of another
    plugin rather than the built-in one, and without it the server does not start: its runs would
    fail one by one. The ``target`` is called with the server's storage and the
    application directory. What it returns has an async method ``seal``, which is given the config
    of a run that names a secret when the run starts, and returns a
    :class:`flowdapt.context.Sealed`. It raises a :class:`flowdapt.errors.StageError`, and so fails
    the run, where there is no such secret.

    :return: one provider
    """


@_spec
def flowdapt_triggers() -> Iterable[Provider]:
    """Offer types of rules, which decide when triggers fire.

    Called once for each start of a server that has triggers. Each ``target`` is a subclass of
    :class:`flowdapt.triggers.TimeRule`, :class:`~flowdapt.triggers.EventRule` or
    :class:`~flowdapt.triggers.WatchingRule`; the provider's name is the ``type`` of a trigger.

    :return: one provider for each type; names are unique across plugins
    """
    raise AssertionError("specification only")


@_spec
def flowdapt_suites() -> Iterable[Provider]:
    """Offer suites that every implementation of a contract passes.

    Called when :mod:`flowdapt.testing` is asked for one. Each ``target`` is a class of test methods
    for pytest; its docstring says what a subclass has to add.

    :return: one provider for each suite, named like its class; names are unique across plugins
    """


@_spec
def flowdapt_event(event: Event) -> None:
    """React to something that happened, such as the end of a run.

    Called in the server's event loop for every event, after what it tells of was stored; it must
    return at once. What it raises is logged with the plugin's name, and nobody else notices.

    :param event: a fact; it cannot be changed
    """
