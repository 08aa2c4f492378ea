"""The input of a run, as it is given on the command line."""

import json
import sys
from collections.abc import Iterator, Sequence
from getpass import getpass
from pathlib import Path
from typing import Any

from flowdapt.errors import InvalidInput


def values_of(file: str | None, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the input of a run.

    :param file: a path, or ``-`` for standard input
    :param arguments: such as ``--key value`` or ``--key=value``; they win over the file
    :raises InvalidInput: an argument is malformed
    :raises UnreadableFile: the file is
    """
    return {**_from_file(file), **dict(_from_arguments(arguments))}


def _from_file(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    from flowdapt_cli.reading import files

    path = Path("stdin" if file == "-" else file)
    text = sys.stdin.read() if file == "-" else files.text_of(path)
    documents = files.parse(text, path)
    if len(documents) > 1:
        raise InvalidInput(f"{documents[1].where}: an input is one document, not several")
    return documents[0].data if documents else {}


def _from_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, Any]]:
    seen = set()
    rest = iter(arguments)
    for argument in rest:
        option, equals, text = argument.partition("=")
        if not option.startswith("--") or option == "--":
            raise InvalidInput(f"inputs are given as --key value, not as {argument!r}")
        if not equals and (text := next(rest, "--")).startswith("--"):
            raise InvalidInput(f"{option} needs a value, such as {option} true")
        if option in seen:
            raise InvalidInput(f"{option} is given twice; for a list write {option} '[1, 2]'")
        seen.add(option)
        yield option.removeprefix("--").replace("-", "_"), _value(option, text)


def _value(option: str, text: str) -> Any:
    """Read a value as JSON where it looks like it, else as the text that it is."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError as error:
        if not text.startswith(("[", "{", '"')):
            return text
        quoted = f"{option} '{json.dumps(text)}'"
        raise InvalidInput(
            f"{option} begins like JSON and is none: {error}; for a text write {quoted}"
        ) from None


def hidden(what: str) -> str:
    """Return a text that must not be seen: asked for on a terminal, else all of standard input.

    :param what: names it for the person who is asked
    :raises InvalidInput: it is empty
    """
    if sys.stdin.isatty():
        value = getpass(f"{what}: ")
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not value:
        raise InvalidInput(f"the {what} is empty")
    return value
