"""What a settings file says of plugins, read before any plugin of a stranger is imported.

Settings are read by the command that needs them, which is too late to keep a plugin out: by then
all have been imported. To read them whole takes longer than all else that ``flowdapt --help`` does.
So only that part of the file is read here, and only where the file has it; what is wrong with the
file is said by whoever reads it whole.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt.plugins import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowdapt.plugins import Plugin

DISABLED = "FLOWDAPT__PLUGINS__DISABLED"  #: what it says goes before the file
SAFE_MODE = "FLOWDAPT__PLUGINS__SAFE_MODE"

_PROGRAM = re.compile(r"(^|/)flowdapt(/__main__\.py)?$")
_FLAGS = {"--dev", "--safe-mode", "--version", "-v", "--help", "-h"}  #: what takes no value
_APP_DIR, _CONFIG = ("--app-dir", "-d"), ("--config", "--config-file", "-c")
_LATER = ("--env", "--override", "-o")  #: may say something else of plugins than the file


def leave_out(plugins: Sequence[Plugin], app_dir: Path) -> None:
    """Leave plugins out as the settings file says.

    :param app_dir: where the file is, unless the command line names another directory
    """
    given = [*_given()]
    if {DISABLED, SAFE_MODE} & {*os.environ} or any(option in _LATER for option, _ in given):
        return
    folder = next((value for option, value in reversed(given) if option in _APP_DIR), app_dir)
    names = (value for option, value in reversed(given) if option in _CONFIG)
    name = next(names, os.environ.get("FLOWDAPT__CONFIG_FILE") or "flowdapt.yaml")
    said = _said(Path(folder).expanduser() / Path(name).expanduser())
    disabled = {*map(normal, names_in(said.get("disabled")))}
    for plugin in plugins:
        if plugin.state is not State.DISCOVERED:
            continue
        if names_of(plugin) & disabled:
            plugin.become(State.DISABLED, "remove it from plugins.disabled to use it")
        elif said.get("safe_mode") is True:
            plugin.become(State.DISABLED, "unset plugins.safe_mode to use it")


def names_of(plugin: Plugin) -> set[str]:
    """Return the names that a plugin answers to; those that come with flowdapt share one."""
    names = {plugin.name, plugin.entry.name}
    return {*map(normal, names if plugin.built_in else {*names, plugin.distribution})}


def normal(name: str) -> str:
    """Return a name as it is compared."""
    return name.lower().replace("_", "-").replace(".", "-")


def _said(file: Path) -> dict[str, Any]:
    """Return what the file has under ``plugins``; nothing where it has none, or cannot be read."""
    from flowdapt.errors import FlowdaptError

    with suppress(OSError, UnicodeDecodeError, FlowdaptError):
        text = file.read_text("utf-8-sig")
        if "plugins" in text and ("disabled" in text or "safe_mode" in text):
            from flowdapt_cli.reading import files

            for document in files.parse(text, file):
                found = document.data.get("plugins")
                return found if isinstance(found, dict) else {}
    return {}


def names_in(value: Any) -> list[str]:
    """Return the names in a list, or in a text with commas between them."""
    if isinstance(value, str):
        return re.findall(r"[\w.:-]+", value)
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _given() -> Iterator[tuple[str, str]]:
    """Yield the options that stand before the command, and their values."""
    words = iter(sys.argv[1:] if _PROGRAM.search(sys.argv[0]) else ())
    for word in words:
        if not word.startswith("-") or word == "--":
            return
        option, equals, value = word.partition("=")
        if option not in _FLAGS:
            yield (option, value) if equals else (word, next(words, ""))
