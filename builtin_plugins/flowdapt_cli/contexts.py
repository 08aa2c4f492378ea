"""Names for servers, with the token that each knows the user by, in a file of the user's own."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowdapt.errors import nearest
from flowdapt_cli.errors import CommandError
from flowdapt_cli.output import note

VARIABLE = "FLOWDAPT_CONTEXTS"  #: the file, where it is another
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NoSuchContext(CommandError):
    """No context has that name."""

    def __init__(self, name: str, names: list[str]) -> None:
        there = f"; there are {', '.join(names)}" if names else "; there are none yet"
        add = f"; make it: flowdapt contexts add {name} URL"
        super().__init__(f"no context named {name!r}{nearest(name, names) or there}{add}")
        self.name = name


@dataclass(frozen=True)
class Context:
    """A server, and what it knows the user by."""

    server: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Contexts:
    """What the file holds.

    :param current: the name of the one that is used where none is named
    """

    file: Path
    known: dict[str, Context] = field(default_factory=dict)
    current: str | None = None

    def chosen(self, name: str | None) -> Context | None:
        """Return the context of that name, else the current one, if there is one.

        :raises NoSuchContext: none has the name
        """
        name = name or self.current
        return self.named(name) if name else None

    def named(self, name: str) -> Context:
        """Return the context of that name.

        :raises NoSuchContext: there is none
        """
        if name not in self.known:
            raise NoSuchContext(name, [*self.known])
        return self.known[name]

    def with_one(self, name: str, context: Context) -> Contexts:
        """Return them with one more, or with another of that name."""
        return replace(self, known={**self.known, name: context})

    def without(self, name: str) -> Contexts:
        """Return them without one.

        :raises NoSuchContext: there is none of that name
        """
        self.named(name)
        kept = {other: context for other, context in self.known.items() if other != name}
        current = None if self.current == name else self.current
        return replace(self, known=kept, current=current)

    def using(self, name: str) -> Contexts:
        """Return them with another current one.

        :raises NoSuchContext: there is none of that name
        """
        self.named(name)
        return replace(self, current=name)

    def write(self) -> None:
        """Write the file, so that nobody else can read it and nobody finds half of it."""
        import yaml

        known = {
            name: {"server": one.server, **({"token": one.token} if one.token else {})}
            for name, one in self.known.items()
        }
        data = {"current": self.current, "contexts": known}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            number, made = tempfile.mkstemp(dir=self.file.parent, prefix=self.file.name)
            with os.fdopen(number, "w") as stream:  # which only the user can read
                yaml.safe_dump(data, stream, sort_keys=False, allow_unicode=True)
            os.replace(made, self.file)
        except OSError as error:
            raise CommandError(f"{self.file} cannot be written: {error.strerror}") from None


def read() -> Contexts:
    """Read the file; there is nothing in one that does not exist.

    :raises CommandError: it cannot be read, or holds something else
    """
    file = _file()
    try:
        text = file.read_text()
        mode = file.stat().st_mode
    except FileNotFoundError:
        return Contexts(file)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from None
    found = _parsed(file, text)
    if mode & _OTHERS and any(context.token for context in found.known.values()):
        note(f"others can read the tokens in {file}; keep them out: chmod 600 {file}")
    return found


def _file() -> Path:
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "flowdapt" / "contexts.yaml"


def _parsed(file: Path, text: str) -> Contexts:
    import yaml

    try:
        data: Any = yaml.safe_load(text) or {}
        known = {
            str(name): Context(str(one["server"]), one.get("token"))
            for name, one in (data.get("contexts") or {}).items()
        }
        return Contexts(file, known, data.get("current"))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        # Not what is wrong where: YAML's messages quote the line, and the token may stand in it.
        raise CommandError(
            f"{file} holds no contexts; each has a server and perhaps a token, under 'contexts'"
        ) from None
