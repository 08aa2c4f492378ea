"""All that is known about one plugin, without importing more of it than was imported already."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt.errors import nearest
from flowdapt_cli.early import names_of, normal
from flowdapt_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.metadata import EntryPoint

    from flowdapt.plugins import Plugin, Plugins

_CODE = {".py", ".pyc", ".pyi", ".so", ".pyd"}
_RESOURCES = (".yaml", ".yml")
_ABOUT = {
    "summary": ("Summary",),
    "author": ("Author", "Author-email"),
    "license": ("License-Expression", "License"),
    "home_page": ("Home-page",),
}
_HOME = ("homepage", "home page", "home", "source", "repository", "source code", "documentation")


class NoSuchPlugin(CommandError):
    """No plugin has that name."""

    def __init__(self, name: str, plugins: Sequence[Plugin]) -> None:
        near = nearest(name, [plugin.name for plugin in plugins]) or "; see flowdapt plugins list"
        super().__init__(f"no plugin named {name!r}{near}")
        self.name = name


def named(name: str, plugins: Sequence[Plugin]) -> Plugin:
    """Return the plugin of that name; of its distribution's or entry point's, where only one has.

    :raises NoSuchPlugin: there is none
    :raises CommandError: several answer to the name
    """
    exact = [plugin for plugin in plugins if plugin.name == name]
    found = exact or [plugin for plugin in plugins if normal(name) in names_of(plugin)]
    if not found:
        raise NoSuchPlugin(name, plugins)
    if len(found) > 1:
        names = " or ".join(plugin.name for plugin in found)
        raise CommandError(f"{name!r} means several plugins: say {names}")
    return found[0]


def dossier(plugin: Plugin, plugins: Plugins) -> dict[str, Any]:
    """Return what is known about one plugin, as plain data."""
    from flowdapt_cli.diagnoses import advice

    resources, files = _data(plugin.entry)
    return {
        "name": plugin.name,
        "version": plugin.version,
        "state": plugin.state.value,
        "reason": plugin.reason,
        "advice": advice(plugin),
        "traceback": plugin.traceback,
        "distribution": plugin.distribution,
        "module": plugin.entry.value,
        **_about(plugin.entry),
        "provides": [*_provided(plugin, plugins)],
        "reacts": _reactions(plugins.loaded(plugin.name)),
        "resources": resources,
        "files": files,
    }


def _about(entry: EntryPoint) -> dict[str, Any]:
    """Return what the author says of the distribution; nothing is there that is not said."""
    said: dict[str, Any] = {**dict.fromkeys(_ABOUT, ""), "requires": []}
    if entry.dist is None:
        return said
    with suppress(Exception):  # files of strangers
        about = entry.dist.metadata
        for key, headers in _ABOUT.items():
            found = (str(about[header]) for header in headers if header in about)
            said[key] = next(filter(None, found), "").partition("\n")[0]
        said["home_page"] = said["home_page"] or _home(about.get_all("Project-URL") or ())
        said["requires"] = list(entry.dist.requires or ())
    return said


def _home(lines: Iterable[str]) -> str:
    links = {
        label.strip().lower(): url.strip() for label, _, url in (x.partition(",") for x in lines)
    }
    return next((links[label] for label in (*_HOME, *links) if label in links), "")


def _provided(plugin: Plugin, plugins: Plugins) -> Iterator[dict[str, str]]:
    """Yield what it offers, or would; only who is healthy says more of it than the name."""
    for offer in plugin.provides:
        part, _, name = offer.partition(":")
        known = plugins.providers(part).get(name) if plugins.loaded(plugin.name) else None
        help_, target = (known.help, known.target) if known else ("", "")
        yield {"part": part, "name": name, "help": help_, "target": target}


def _reactions(loaded: object) -> list[str]:
    """Return the hooks that offer nothing and are called when something happens."""
    hooks = [name for name in dir(loaded) if hasattr(getattr(loaded, name, None), "flowdapt_impl")]
    return [hook for hook in hooks if not hook.endswith("s")]


def _data(entry: EntryPoint) -> tuple[list[dict[str, str]], list[str]]:
    """Return the resources in a package, and its other files that are no code."""
    resources: list[dict[str, str]] = []
    files: list[str] = []
    for path, name in _files(entry):
        found = _resources(path, name) if path.suffix.lower() in _RESOURCES else []
        resources += found
        if not found:
            files.append(name)
    return resources, files


def _files(entry: EntryPoint) -> Iterator[tuple[Path, str]]:
    with suppress(Exception):  # finders of strangers take part
        spec = find_spec(entry.module.partition(".")[0])
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob("*")):
                inner = path.relative_to(folder)
                passed_over = "__pycache__" in inner.parts or path.name == "py.typed"
                if path.is_file() and not passed_over and path.suffix not in _CODE:
                    yield path, str(Path(Path(folder).name, inner))


def _resources(path: Path, name: str) -> list[dict[str, str]]:
    """Return the resources in a file; a file that cannot be read is one, with its problem."""
    from flowdapt.errors import FlowdaptError
    from flowdapt_cli.reading import files

    try:
        documents = files.parse(files.text_of(path), path)
    except FlowdaptError as error:
        problem = str(error).removeprefix(str(path)).lstrip(": ")
        return [{"kind": "", "name": "", "file": name, "problem": problem}]
    return [
        {
            "kind": str(document.data["kind"]),
            "name": _name(document.data.get("metadata")),
            "file": name,
            "problem": "",
        }
        for document in documents
        if "kind" in document.data
    ]


def _name(metadata: object) -> str:
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
