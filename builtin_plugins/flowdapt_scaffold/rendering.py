"""Makes a project of the template, by cookiecutter, in one step: all of it is there, or nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flowdapt.errors import FlowdaptError, InvalidInput, nearest
from flowdapt_scaffold.names import check_module, module_of

NAME, KIND, MODULE = "distribution", "kind", "module"  #: keys of the template
_PROMPTS = "__prompts__"


@cache
def template() -> Path:
    """Return where the template is: in this package, or in the repository that it comes from."""
    here = Path(__file__).parent
    return next(
        folder
        for folder in (here / "template", here.parents[1] / "plugin_template")
        if folder.is_dir()
    )


@cache
def _variables() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((template() / "cookiecutter.json").read_text("utf-8"))
    return found


def kinds() -> list[str]:
    """Return the kinds of plugins, the default first."""
    return list(_variables()[KIND])


def answers(given: Iterable[str], kind: str | None) -> dict[str, str]:
    """Return what was answered before anything was asked.

    :param given: texts such as ``author=Ada``
    :raises InvalidInput: one of them means nothing
    """
    found = {} if kind is None else {KIND: kind}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"{text!r} should be KEY=VALUE, such as author=Ada")
        if key in (NAME, KIND):
            where = "the argument NAME" if key == NAME else "--kind"
            raise InvalidInput(f"{key!r} is given as {where}, and not by -e")
        found[key] = value
    return checked(found)


def checked(given: Mapping[str, str]) -> dict[str, str]:
    """Refuse what the template does not know or cannot take.

    :raises InvalidInput: saying what would be right
    """
    known = [key for key in _variables() if not key.startswith("_") and key != NAME]
    for key, value in given.items():
        if key not in known:
            there = ", ".join(repr(one) for one in known if one != KIND)
            hint = nearest(key, known) or f"; there are {there}"
            raise InvalidInput(f"the template has no key {key!r}{hint}")
        if not value.isprintable() or "{{" in value or "{%" in value:
            raise InvalidInput(f"{key!r} is one line of text, without {{{{ and {{%, not {value!r}")
    kind = given.get(KIND, kinds()[0])
    if kind not in kinds():
        there = ", ".join(map(repr, kinds()))
        hint = nearest(kind, kinds()) or f"; there are {there}"
        raise InvalidInput(f"{kind!r} is no kind of plugin{hint}")
    if MODULE in given:
        check_module(given[MODULE])
    return dict(given)


def questions(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield what may be asked: the key, the question, and the answer of who gives none."""
    variables = _variables()
    for key, question in variables[_PROMPTS].items():
        if key == KIND:
            yield key, f"{question} ({', '.join(kinds())})", kinds()[0]
        elif key == MODULE:
            yield key, question, module_of(name)
        elif key != NAME:
            yield key, question, variables[key]


def render(name: str, given: Mapping[str, str], folder: Path) -> Path:
    """Make the project in a folder of its name, and return that.

    :raises InvalidInput: there is such a folder, or its package cannot have its name
    :raises FlowdaptError: it cannot be written
    """
    context = {MODULE: module_of(name), **given, NAME: name}
    check_module(context[MODULE])
    made = folder / name
    if made.exists() or made.is_symlink():
        raise InvalidInput(f"{made} is there already: take another name, or --output-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the place where it is to be, as only there it can be put by one rename.
        with tempfile.TemporaryDirectory(prefix=".flowdapt-new-", dir=folder) as draft:
            (_rendered(context, Path(draft)) / name).rename(made)
    except OSError as error:
        raise FlowdaptError(f"{made} cannot be written: {error.strerror or error}") from None
    return made


def _rendered(context: Mapping[str, str], draft: Path) -> Path:
    """Render into a folder within ``draft``, which cookiecutter has in place of the user's home."""
    from cookiecutter.main import cookiecutter

    settings, out = draft / "settings.yaml", draft / "out"
    folders = {key: str(draft / key) for key in ("replay_dir", "cookiecutters_dir")}
    settings.write_text(json.dumps(folders), "utf-8")
    cookiecutter(
        str(template()),
        no_input=True,
        extra_context=dict(context),
        output_dir=str(out),
        config_file=str(settings),
    )
    return out
