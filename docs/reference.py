"""Writes the pages in ``docs/reference`` from the code and its docstrings.

    uv run python docs/reference.py [--check]

With ``--check`` nothing is written, and it fails while a page is not what it would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from flowdapt_artifacts import models, public
from flowdapt_cli.app import flowdapt as overview
from flowdapt_client.artifacts import Artifacts
from flowdapt_client.binding import Asking, Iterating
from flowdapt_client.clients import Everything
from flowdapt_client.events import Events
from flowdapt_client.keeping import Audit, Secrets
from flowdapt_client.objects import Objects
from flowdapt_client.resources import Resources
from flowdapt_client.runs import Runs
from flowdapt_client.triggers import Triggers
from flowdapt_triggers.actions import Firing
from flowdapt_triggers.resource import Action, TriggerRule, TriggerSpec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flowdapt import (
    artifacts,
    client,
    errors,
    executors,
    hooks,
    policies,
    resources,
    settings,
    storage,
    triggers,
    walks,
)
from flowdapt.plugins import Plugins

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/reference.py from the code; edit the docstrings instead. -->"

_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
_LITERAL = re.compile(r"``(.+?)``")
_QUOTED = re.compile(r"""(: |-> )(['"])(.*?)\2""")  # annotations are texts
_CALL, _ITEMS = re.compile(r"-> Call\[(.*)\]$"), re.compile(r"-> Items\[(.*)\]$")
_FIELD = re.compile(r"^:(param|ivar|return|raises)\s*([\w. |]*):\s*(.*)$")


def pages() -> dict[str, str]:
    """Return the text of each page by the name of its file."""
    made: dict[str, Callable[[], Iterable[str]]] = {
        "hooks": _hooks,
        "settings": _settings,
        "resources": _resources,
        "storage": _storage,
        "executors": _executors,
        "triggers": _triggers,
        "policies": _policies,
        "artifacts": _artifacts,
        "errors": _errors,
        "client": _client,
        "cli": _cli,
    }
    return {
        f"{name}.md": "\n".join([NOTE, "", *page()]).rstrip() + "\n" for name, page in made.items()
    }


def main() -> None:
    """Write the pages that are not as they should be; with ``--check``, only name them and fail."""
    FOLDER.mkdir(exist_ok=True)
    files = {FOLDER / name: text for name, text in pages().items()}
    stale = [file for file, text in files.items() if not file.exists() or file.read_text() != text]
    for file in stale:
        sys.stdout.write(f"{file.relative_to(FOLDER.parent.parent)}\n")
        if "--check" not in sys.argv:
            file.write_text(files[file])
    sys.exit("these pages are not up to date" if stale and "--check" in sys.argv else 0)


# The pages -----------------------------------------------------------------------------------


def _hooks() -> Iterator[str]:
    yield from _head("Hooks", hooks)
    yield from _class(hooks.Provider)
    plugins = Plugins.load(safe_mode=True)
    own = [plugins.loaded(plugin.name) for plugin in plugins.list() if plugin.built_in]
    for module in (hooks, *filter(None, own)):  # a plugin may specify hooks of its own
        for function in vars(module).values():
            if inspect.isfunction(function) and hasattr(function, f"{hooks.NAMESPACE}_spec"):
                yield from _function(function, level=2)


def _settings() -> Iterator[str]:
    yield from _head("Settings", settings)
    yield "As an environment variable, `rpc.api.port` is `FLOWDAPT__RPC__API__PORT`."
    yield from ("", "| Key | Default | Meaning |", "|---|---|---|")
    for key, field in _keys(settings.Settings, ""):
        yield f"| `{key}` | {_default(field)} | {_cell(field.description or '')} |"


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        group = field.default
        if isinstance(group, BaseModel) and not hasattr(group, "target"):
            yield from _keys(type(group), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _default(field: FieldInfo) -> str:
    default = getattr(field.default, "target", field.default)
    if field.default_factory is dict:
        return "`{}`"
    if field.is_required() or field.default_factory or isinstance(default, BaseModel):
        return ""
    default = list(default) if isinstance(default, tuple) else default
    return f"`{default}`" if default not in (None, "") else ""


def _resources() -> Iterator[str]:
    yield from _head("Resources", resources)
    models = (resources.Workflow, resources.WorkflowSpec, resources.Stage, resources.Config)
    offered = (TriggerRule, TriggerSpec, Action)
    others = (resources.ConfigSpec, resources.Selector, *offered, resources.Metadata)
    for model in (*models, *others):
        yield from _model(model)


def _model(model: type[BaseModel]) -> Iterator[str]:
    yield from (f"## {model.__name__}", "", *_prose(model), "")
    yield from ("| Field | Type | Default | Meaning |", "|---|---|---|---|")
    for name, field in model.model_fields.items():
        required = "required" if field.is_required() else _default(field)
        kind = _cell(f"`{_type(field.annotation)}`")
        yield f"| `{name}` | {kind} | {required} | {_cell(field.description or '')} |"
    yield ""


def _type(annotation: Any) -> str:
    """Return a type as it is written, without the modules."""
    if get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    if isinstance(annotation, TypeVar):
        return _type(annotation.__bound__)
    if get_origin(annotation) is Annotated:  # what checks a value is at another address each time
        return _type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_type, get_args(annotation))).replace("NoneType", "None")
    origin = getattr(get_origin(annotation), "__name__", "")
    if origin == "Literal":
        return " or ".join(f"'{value}'" for value in get_args(annotation))
    return re.sub(r"\b(?:\w+\.)+", "", str(annotation)).replace("NoneType", "None")


def _storage() -> Iterator[str]:
    yield from _head("Storage", storage)
    for one in (storage.Storage, storage.StoredRun, storage.RunQuery, storage.LogBlock):
        yield from _class(one)


def _executors() -> Iterator[str]:
    yield from _head("Executors", executors)
    contract = (executors.Executor, executors.Host, executors.Call, executors.MapCall)
    answers = (executors.Handle, executors.Outcome, executors.Progress, executors.Node)
    for one in (*contract, *answers, executors.StageFailed):
        yield from _class(one)


def _triggers() -> Iterator[str]:
    yield from _head("Triggers", triggers)
    contract = (triggers.Rule, triggers.TimeRule, triggers.EventRule, triggers.WatchingRule)
    for one in (*contract, triggers.Occasion, Firing):
        yield from _class(one)


def _policies() -> Iterator[str]:
    yield from _head("Policies", policies)
    for one in (policies.Policy, walks.Walk):
        yield from _class(one)


def _artifacts() -> Iterator[str]:
    yield from _head("Artifacts", artifacts)
    for one in (artifacts.Artifact, artifacts.ArtifactFile, artifacts.Store):
        yield from _class(one)
    functions = [getattr(artifacts, name) for name in vars(public)["__all__"]]
    for function in functions:
        if inspect.isfunction(function):
            yield from _function(function, level=2)
    for error in (artifacts.ArtifactCorrupt, artifacts.ArtifactNotWritten):
        yield from _class(error)
    yield from _head("Models", models)
    yield from _class(models.Model)
    for function in (models.save, models.load, models.versions, models.list):
        yield from _function(function, level=2)


def _errors() -> Iterator[str]:
    yield from _head("Errors", errors)
    yield from _tree(errors.FlowdaptError, 0)
    yield ""


def _tree(error: type[BaseException], depth: int) -> Iterator[str]:
    summary = _plain(inspect.getdoc(error) or "").split("\n\n")[0]
    yield f"{'  ' * depth}- `{error.__name__}`: {' '.join(summary.split())}"
    own = [e for e in error.__subclasses__() if e.__module__.startswith("flowdapt.")]
    for inner in sorted(own, key=lambda e: (e.__module__, _line(e))):
        yield from _tree(inner, depth + 1)


def _line(thing: Any) -> int:
    return inspect.getsourcelines(thing)[1]


def _client() -> Iterator[str]:
    yield from _head("Client", client)
    yield from (
        "An `AsyncClient` has the same methods: what one returns is awaited there, and where it is",
        "a `Stream`, it is an `AsyncStream`. Either is iterated over, and closed by its context.",
        "",
    )
    groups = {
        "client": Everything,
        "client.runs": Runs,
        "client.events": Events,
        "client.workflows, client.configs, client.resources(MODEL)": Resources,
        "client.objects": Objects,
        "client.artifacts": Artifacts,
        "client.triggers": Triggers,
        "client.secrets": Secrets,
        "client.audit": Audit,
    }
    yield from _class(client.Client)
    for name, group in groups.items():
        yield from (f"## {name}", "", *_prose(group), "")
        for member in vars(group).values():
            if isinstance(member, Asking | Iterating):
                yield from _function(member.call, level=3)
    models = (client.Run, client.Event, client.LogLine, client.RunItem, client.Revision)
    stored = (client.ObjectEntry, client.ObjectStats, client.NamespaceSum, client.Artifact)
    states = (client.TriggerState, client.TriggerDetail, client.Firing)
    tried = (client.Trial, client.TriedFiring, client.Backfilled)
    for one in (*models, *stored, *states, *tried):
        yield from _model(one)
    for error in (client.NoServer, client.Refused, client.RunFailed, client.Unreadable):
        yield from _class(error)


def _cli() -> Iterator[str]:
    yield from (
        "# Command line",
        "",
        "What `flowdapt --help` and `flowdapt COMMAND --help` say.",
        "",
    )
    yield from _command(overview, "flowdapt")
    plugins = Plugins.load(safe_mode=True)
    for name in plugins.providers("commands"):
        found = plugins.resolve("commands", name)
        if not isinstance(found, typer.Typer):
            yield from _command(found, f"flowdapt {name}")
            continue
        commands = [info.callback for info in found.registered_commands if info.callback]
        alone = len(commands) == 1
        for info in found.registered_commands:
            if info.callback:
                inner = "" if alone else f" {info.name or info.callback.__name__}"
                yield from _command(info.callback, f"flowdapt {name}{inner}")


def _command(function: Callable[..., Any], name: str) -> Iterator[str]:
    yield from (f"## {name}", "", _plain(inspect.getdoc(function) or ""), "")
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    rows = [row for parameter in parameters if (row := _parameter(parameter))]
    if rows:
        yield from ("| | Meaning |", "|---|---|", *rows, "")


def _parameter(parameter: inspect.Parameter) -> str:
    """Return a row for an option or argument; nothing for what typer passes by itself."""
    kind, *notes = get_args(parameter.annotation) or (None,)
    if not notes or getattr(notes[0], "hidden", False):
        return ""
    note = notes[0]
    if not isinstance(note, typer.models.OptionInfo):
        return f"| `{note.metavar or parameter.name.upper()}` | {_cell(note.help or '')} |"
    # Within Annotated the first name is taken for a default, and put right by typer later.
    given = [name for name in (note.default, *(note.param_decls or ())) if isinstance(name, str)]
    names = ", ".join(given or [f"--{parameter.name.replace('_', '-')}"])
    values = "|".join(get_args(kind)) if get_origin(kind) is Literal else "VALUE"
    value = "" if kind is bool else f" {note.metavar or values}"
    return f"| {_cell(f'`{names}{value}`')} | {_cell(note.help or '')} |"


# Docstrings ----------------------------------------------------------------------------------


def _head(title: str, module: ModuleType) -> Iterator[str]:
    yield from (
        f"# {title}",
        "",
        f"Module `{module.__name__}`. {_plain(inspect.getdoc(module) or '')}",
        "",
    )


def _class(one: type) -> Iterator[str]:
    yield from (f"## {one.__name__}", "", *_prose(one), "")
    if dataclasses.is_dataclass(one) and ":param" not in (one.__doc__ or ""):
        yield from (f"Fields: {', '.join(f'`{f.name}`' for f in dataclasses.fields(one))}.", "")
    for name, member in vars(one).items():
        if isinstance(member, classmethod) and not issubclass(one, Exception):
            member = getattr(one, name)  # noqa: PLW2901 - without the class, which nobody passes
        shown = inspect.isfunction(member) or inspect.ismethod(member)
        if name.startswith("_") or not (shown or isinstance(member, property)):
            continue
        if isinstance(member, property):
            yield from (f"### {name}", "", _plain(inspect.getdoc(member) or ""), "")
        else:
            yield from _function(member, level=3)


def _function(function: Callable[..., Any], level: int) -> Iterator[str]:
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    text = _QUOTED.sub(r"\1\3", str(signature.replace(parameters=parameters)))
    text = _ITEMS.sub(r"-> Stream[\1]", _CALL.sub(r"-> \1", text))  # of a client's calls
    word = "async " if inspect.iscoroutinefunction(function) else ""
    yield from (f"{'#' * level} {function.__name__}", "")
    yield from ("```text", f"{word}{function.__name__}{text}", "```", "", *_prose(function), "")


def _prose(thing: Any) -> list[str]:
    """Return a docstring as Markdown, its fields as a list."""
    lines: list[str] = []
    for line in (inspect.getdoc(thing) or "").splitlines():
        if match := _FIELD.match(line):
            what, name, text = match.groups()
            label = {"return": "Returns", "raises": f"Raises `{name}`"}.get(what, f"`{name}`")
            lines.append(f"- {label}: {_plain(text)}")
        else:
            lines.append(_plain(line))
    return lines


def _plain(text: str) -> str:
    """Return reStructuredText's roles and literals as Markdown."""
    return _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", text))


def _cell(text: str) -> str:
    return _plain(" ".join(text.split())).replace("|", "\\|")


if __name__ == "__main__":
    main()
