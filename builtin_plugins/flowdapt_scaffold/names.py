"""What a plugin and its package may be called."""

from __future__ import annotations

import keyword
import re
import sys

from flowdapt.errors import InvalidInput
from flowdapt.plugins import Plugins

LONGEST = 50  #: characters of a name, so that lines with it are not too long
_DISTRIBUTION = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE)


def module_of(name: str) -> str:
    """Return the import package of a distribution, by the usual way to name one."""
    return re.sub(r"[-_.]+", "_", name).lower()


def check(name: str) -> None:
    """Refuse what is no name of a distribution.

    :raises InvalidInput: saying what is
    """
    if not _DISTRIBUTION.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name of a distribution: it has letters, digits, '-', '_' and '.', "
            "and begins and ends with a letter or a digit, such as my-plugin"
        )
    if len(name) > LONGEST:
        raise InvalidInput(f"{name!r} is too long: take at most {LONGEST} characters")


def check_module(module: str) -> None:
    """Refuse what cannot be an import package, or would hide one that is needed.

    :raises InvalidInput: saying why
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", module) or keyword.iskeyword(module):
        raise InvalidInput(
            f"{module!r} cannot be an import package: it has small letters, digits and '_', does "
            "not begin with a digit and is no word of Python; choose one by -e module=NAME"
        )
    ours = {plugin.entry.module for plugin in Plugins.load(safe_mode=True).list()}
    if module in {"flowdapt", "tests", *sys.stdlib_module_names, *ours}:
        raise InvalidInput(
            f"an import package {module!r} would hide another of that name; "
            "choose one by -e module=NAME"
        )
