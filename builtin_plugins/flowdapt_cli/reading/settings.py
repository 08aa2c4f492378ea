"""The settings in force, from every place where they may be given.

A key is looked for in the settings file, in dotenv files, in the environment and among the
overrides of the command line; the later source wins.
"""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from flowdapt.errors import ResourceError, SettingsError, nearest
from flowdapt.settings import Section, Services, Settings, Text, plain
from flowdapt_cli.reading import files
from flowdapt_cli.reading.errors import AppDirUnusable

PREFIX = "FLOWDAPT__"  #: of environment variables; the keys follow, in upper case, joined by `__`

_SHORT = {"executor": ("services", "compute", "executor")}
_COMPONENTS = {("services", "compute", "executor"): "local", ("database",): "sqlite"}
_MOODS = "amber bold brisk calm clear deft eager early fair keen lucid mild noble quiet swift warm"
_ANIMALS = "crane dove eel finch hare heron ibis lark lynx mole newt otter raven seal tern wren"
_SWITCH: dict[str | bool, bool] = {"disabled": False, "enabled": True}
_SHOULD = {
    "Component": "should be a name, or an object with `target`",
    "ServiceSettings": "should be an object, or the word disabled",
    "model_type": "should be an object",
    "tuple_type": "should be a list",
}
_TEMPLATE = """\
# The settings of this flowdapt server; `flowdapt config show` prints them all. Each may also come
# from the environment, FLOWDAPT__RPC__API__PORT=9000, or the command line, -o rpc.api.port=9000.
rpc:
  api:
    host: 127.0.0.1
    port: 8080
executor: local  # or a mapping: `target`, and its options beside it
database: sqlite
logging:
  level: info
"""


class _Assignment(NamedTuple):
    keys: tuple[str, ...]
    value: Any
    source: str


def load(
    app_dir: str | Path | None = None,
    config_file: str | Path | None = None,
    *,
    env_files: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
    dev: bool = False,
    write_missing: bool = False,
) -> Settings:
    """Return the settings in force, and make the application directory.

    :param app_dir: absent, FLOWDAPT__APP_DIR or ``~/.flowdapt``
    :param config_file: within ``app_dir`` unless absolute; ``-`` for none; absent,
        FLOWDAPT__CONFIG_FILE or ``flowdapt.yaml``; its suffix tells YAML, JSON and TOML apart
    :param overrides: texts such as ``rpc.api.port=9000``
    :param write_missing: write a short file with the defaults where there is none
    :raises SettingsError: naming the key, where it is set, and what would be right
    """
    with _refusing_files():
        dotenv = [files.variables(Path(file)) for file in env_files]
    variables = {**{name: value for file in dotenv for name, value, _ in file}, **environ}
    folder = _made_folder(app_dir or variables.get(f"{PREFIX}APP_DIR") or "~/.flowdapt")
    name = str(config_file or variables.get(f"{PREFIX}CONFIG_FILE") or "flowdapt.yaml")
    file = None if name == "-" else folder / Path(name).expanduser()
    if file and write_missing and not file.exists():
        _write_defaults(file)
    layers = [
        _from_file(file, variables) if file and file.exists() else [],
        *map(_from_variables, dotenv),
        _from_variables((name, value, name) for name, value in environ.items()),
        map(_from_override, overrides),
    ]
    dev = dev or variables.get("FLOWDAPT_DEV_MODE", "").lower() in ("1", "true", "yes", "on")
    return _settled(layers, folder, config_file=file, dev=dev)


def _made_folder(name: str | Path) -> Path:
    folder = Path(name).expanduser().absolute()
    advice = "name a folder that you may write to with --app-dir or FLOWDAPT__APP_DIR"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fact = f"application directory {str(folder)!r} cannot be made: {error.strerror}"
        raise AppDirUnusable(f"{fact}; {advice}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AppDirUnusable(f"application directory {str(folder)!r} is not writable; {advice}")
    return folder


@contextmanager
def _refusing_files() -> Iterator[None]:
    try:
        yield
    except ResourceError as error:
        raise SettingsError(str(error)) from None


def _write_defaults(file: Path) -> None:
    with _refusing_files():
        if file.suffix in (".yaml", ".yml"):
            files.write(file, _TEMPLATE)
        else:
            with files.editing(file) as data:
                data.update(files.parse(_TEMPLATE, Path("flowdapt.yaml"))[0].data)


def _from_file(file: Path, variables: Mapping[str, str]) -> list[_Assignment]:
    with _refusing_files():
        documents = files.parse(files.text_of(file), file)
        if len(documents) > 1:
            raise SettingsError(f"{documents[1].where}: settings are one document, not several")
        return [
            _Assignment(keys, value, document.at(keys))
            for document in documents
            for keys, value in files.leaves(files.resolved(document, variables).data)
        ]


def _from_variables(variables: Iterable[tuple[str, str, str]]) -> Iterator[_Assignment]:
    for name, value, source in variables:
        keys = tuple(filter(None, name.removeprefix(PREFIX).lower().split("__")))
        if name.startswith(PREFIX) and keys and keys[0] not in ("app_dir", "config_file", "server"):
            yield _Assignment(keys, Text(value), source)


def _from_override(text: str) -> _Assignment:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        fact = "should be KEY=VALUE, such as rpc.api.port=9000"
        raise SettingsError(f"--override {text!r}: {fact}")
    return _Assignment(tuple(key.strip().split(".")), Text(value), f"--override {text!r}")


def _settled(layers: Iterable[Iterable[_Assignment]], app_dir: Path, **facts: Any) -> Settings:
    tree: dict[str, Any] = {"storage": {}}
    sources: dict[tuple[str, ...], str] = {}
    for layer in layers:
        # Targets come first, because another target voids the options that earlier layers gave to
        # theirs; and of both spellings in one layer, `target` wins.
        for _, (keys, value, source) in sorted(map(_spelled_out, layer), key=lambda a: a[0]):
            part = keys[:-1]
            is_target = part in _COMPONENTS and keys[-1] == "target"
            if is_target and _found(tree, keys, _COMPONENTS[part]) != value:
                _put(tree, part, {})
            _put(tree, keys, value)
            sources[keys] = source
    if plain(tree.get("name")) is None:
        tree["name"] = _named(app_dir)
    storage = tree["storage"] = {} if plain(tree["storage"]) is None else tree["storage"]
    if isinstance(storage, dict) and plain(storage.get("protocol")) in (None, "file"):
        storage.setdefault("base_path", str(app_dir))
    facts.update(app_dir=app_dir, unknown=tuple(_unknown(sources).values()))
    try:
        return Settings.model_validate({**tree, **facts})
    except ValidationError as error:
        raise SettingsError("; ".join(_faults(error, sources))) from None


def _spelled_out(a: _Assignment) -> tuple[int, _Assignment]:
    """Return when the assignment has its turn, and the assignment with its keys in full."""
    keys, value = _full(a.keys), a.value
    if keys[:-1] == ("services",) and isinstance(value, (str, bool)):
        keys, value = (*keys, "enabled"), _SWITCH.get(value, value)
    elif keys in _COMPONENTS and isinstance(plain(value), str):
        return 0, a._replace(keys=(*keys, "target"))
    elif keys[:-1] in _COMPONENTS and keys[-1] in ("target", "__target__"):
        return int(keys[-1] == "target"), a._replace(keys=(*keys[:-1], "target"))
    return 2, a._replace(keys=keys, value=value)


def _found(tree: Any, keys: Iterable[str], default: Any = None) -> Any:
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return default
        tree = tree[key]
    return tree


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(held := tree.get(key), dict):
            # `executor: ray` becomes a mapping as soon as it has options.
            named = isinstance(held, str) and key in ("executor", "database")
            tree[key] = {"target": held} if named else {}
        tree = tree[key]
    tree[keys[-1]] = value


def _unknown(sources: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    unknown: dict[tuple[str, ...], str] = {}
    for keys, source in sources.items():
        model: Any = Settings
        for depth, key in enumerate(keys, 1):
            known = {name: f.annotation for name, f in model.model_fields.items() if not f.exclude}
            if key not in known and model is not Services:
                text = f"{'.'.join(keys[:depth])}{nearest(key, known)}, in {source}"
                unknown.setdefault(keys[:depth], text)
            model = known.get(key)
            if not (isinstance(model, type) and issubclass(model, Section)):
                break
    return unknown


def _faults(error: ValidationError, sources: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        keys = tuple(map(str, fault["loc"]))
        starts = (keys[:end] for end in range(len(keys), 0, -1))
        source = next((f"{sources[start]}: " for start in starts if start in sources), "")
        message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        kind = fault.get("ctx", {}).get("class_name", "")
        right = _SHOULD.get(kind) or _SHOULD.get(fault["type"], message)
        found = reprlib.repr(fault["input"])
        yield f"{source}{'.'.join(keys)} {right.partition(', unable')[0]}, not {found}"


def _named(app_dir: Path) -> str:
    """Return two words that stay the same for a directory."""
    digest = hashlib.sha256(str(app_dir).encode()).digest()
    words = (words.split() for words in (_MOODS, _ANIMALS))
    return "flowdapt." + "-".join(w[n % len(w)] for w, n in zip(words, digest, strict=False))


def show(settings: Settings) -> dict[str, Any]:
    """Return every key with the value in force, as plain data that a file could hold."""
    return settings.model_dump(mode="json")


def get(settings: Settings, key: str) -> Any:
    """Return what is in force for a key such as ``rpc.api.port``; None where there is none."""
    return _found(show(settings), _full(tuple(key.split("."))))


def set_value(file: Path, key: str, text: str) -> None:
    """Set one key in a settings file, which is made where it is missing.

    Comments stay in YAML, and at the top of any other file.

    :raises SettingsError: there is no such key, or it may not have that value
    """
    assignment = _from_override(f"{key}={text}")._replace(source=str(file))
    checked = _settled([[assignment]], file.parent)
    if checked.unknown:
        raise SettingsError(f"no setting {checked.unknown[0]}")
    with _refusing_files(), files.editing(file) as data:
        if isinstance(_found(data, _spelled_in(data, assignment.keys)), dict):
            _, assignment = _spelled_out(assignment)  # `disabled` or a target goes inside
        value = plain(assignment.value)
        # A text that looks like a number, such as a name, stays the text it is.
        is_text = value is not None and isinstance(get(checked, key), str)
        _put(data, _spelled_in(data, assignment.keys), text if is_text else value)


def unset_value(file: Path, key: str) -> None:
    """Remove one key from a settings file, so that its default is in force.

    :raises SettingsError: the file does not set it
    """
    with _refusing_files(), files.editing(file) as data:
        *path, last = _spelled_in(data, tuple(key.split(".")))
        holder = _found(data, path)
        if not isinstance(holder, dict) or last not in holder:
            raise SettingsError(f"{file}: does not set {key!r}")
        del holder[last]


def _spelled_in(data: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys in the spelling that a file uses, or else as they were given."""
    for short, full in _SHORT.items():
        if _full(keys)[: len(full)] == full:
            uses_short = short in data or (keys[0] == short and not _found(data, full))
            return (short, *_full(keys)[len(full) :]) if uses_short else _full(keys)
    return keys


def _full(keys: tuple[str, ...]) -> tuple[str, ...]:
    return (*_SHORT.get(keys[0], keys[:1]), *keys[1:])
