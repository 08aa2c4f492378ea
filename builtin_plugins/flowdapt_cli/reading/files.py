"""Resource files as people write them: YAML and JSON, one or several documents in a file.

A document remembers where its fields stand, so that an error can name the line. What is read is
plain data: dates stay text, keys are text as written, and nothing but JSON's types comes out.
"""

from __future__ import annotations

import copy
import functools
import io
import itertools
import json
import os
import re
import shutil
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from flowdapt.errors import InvalidResource
from flowdapt_cli.reading import exchanges, expressions
from flowdapt_cli.reading.errors import ExpressionError, UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIXES = (".yaml", ".yml", ".json")
MAX_DEPTH = 200  #: of mappings and lists in one another
MAX_VALUES = 1_000_000  #: in one document, so that YAML's aliases cannot fill the memory

_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
_IN_OTHER_WORDS = {
    "mapping values are not": "no key may stand here; check the indentation, quote texts with ': '",
    "cannot start any token": "indent with spaces, and quote a text that begins like this",
    "expected ','": "a bracket is never closed, or a text inside it needs quotes",
    "unexpected end of stream": "a quote is never closed",
}


@dataclass(frozen=True)
class Document:
    """One document of a file.

    :param data: the top-level mapping
    :param start: the line the document starts on; 1 for the first one of a file
    :param node: what YAML made of it, which knows the lines
    """

    data: dict[str, Any]
    path: Path
    start: int = 1
    node: Node | None = field(default=None, repr=False, compare=False)

    @property
    def where(self) -> str:
        """The file, with the line where the document starts unless it is the first one."""
        return f"{self.path}:{self.start}" if self.start > 1 else str(self.path)

    def line(self, loc: tuple[str | int, ...]) -> int | None:
        """Return the line of a field, or of what should hold it; None where lines are unknown."""
        if self.node is None:
            return None
        node, line = self.node, self.start
        for key in loc:
            if not (found := _child(node, key)):
                break
            node, line = found
        return line

    def at(self, loc: tuple[str | int, ...]) -> str:
        """Return the file, with the line of a field where that is known."""
        line = self.line(loc)
        return f"{self.path}:{line}" if line else str(self.path)


def read(path: Path, *, environ: Mapping[str, str] = os.environ) -> list[Document]:
    """Return the resources in a file, or in all files of a folder and the folders in it, by name.

    In a folder, files that hold no resource are passed over; so are hidden folders, caches and
    virtual environments.

    :raises UnreadableFile: a file is missing or malformed, or was named and holds no resource
    :raises InvalidResource: an expression in a file cannot be resolved
    """
    found: list[Document] = []
    folder = path.is_dir()
    for file in sorted(_files(path)) if folder else [path]:
        text = text_of(file)
        if file.suffix.lower() not in SUFFIXES:
            raise UnreadableFile(str(file), f"should end in one of {', '.join(SUFFIXES)}")
        # Other tools keep YAML of their own dialects in the same folders.
        documents = parse(text, file) if "kind" in text or not folder else []
        if folder and not any("kind" in document.data for document in documents):
            continue
        if not documents:
            raise UnreadableFile(str(file), "is empty; it should hold a resource")
        found += [resource(document, environ) for document in documents]
    return found


def resource(document: Document, environ: Mapping[str, str]) -> Document:
    """Return what the document says of a resource: expressions resolved, without ``version``."""
    if "kind" not in document.data:
        fact = "is no resource; it needs a `kind`, such as `kind: workflow`"
        raise UnreadableFile(document.where, fact)
    found = resolved(document, environ)
    return replace(found, data={k: v for k, v in found.data.items() if k != "version"})


def text_of(path: Path) -> str:
    """Return what is written in a file."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(str(path), f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UnreadableFile(str(path), f"cannot be read: {error.strerror}") from None


def parse(text: str, path: Path) -> list[Document]:
    """Return the documents of a text as they stand, without the empty ones.

    :param path: tells the format by its suffix, YAML unless it is ``.json`` or ``.toml``, and
        names the text in errors
    :raises UnreadableFile: the text is malformed
    """
    parser = {".json": _parse_json, ".toml": _parse_toml}.get(path.suffix.lower(), _parse_yaml)
    try:
        documents = [document for document in parser(text, path) if document.data is not None]
    except RecursionError:
        raise UnreadableFile(str(path), "nested too deeply") from None
    except (
        ValueError,
        KeyError,
    ) as error:  # a number or a boolean that is tagged as one, but is none
        raise UnreadableFile(str(path), f"holds a malformed value: {error}") from None
    for document in documents:
        if not isinstance(document.data, dict):
            fact = f"should hold `name: value`, not only a {type(document.data).__name__}"
            raise UnreadableFile(document.where, fact)
    return documents


def variables(path: Path) -> list[tuple[str, str, str]]:
    """Return each variable of a dotenv file, its value, and the file and line that set it."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    text = text_of(path)
    lines: dict[str | None, int] = {}
    for name, _, original, malformed in parse_stream(io.StringIO(text)):
        if malformed:
            found = repr(original.string.strip())
            raise UnreadableFile(f"{path}:{original.line}", f"should be NAME=value, not {found}")
        lines[name] = original.line
    values = dotenv_values(stream=io.StringIO(text))
    return [(name, value or "", f"{path}:{lines[name]}") for name, value in values.items()]


def resolved(
    document: Document, environ: Mapping[str, str], via: tuple[Path, ...] = ()
) -> Document:
    """Return the document with its expressions resolved.

    :param via: the files that refer to this one, to notice those that refer to one another
    :raises InvalidResource: an expression cannot be resolved
    """
    chain = (*via, document.path.resolve())

    def read_file(name: str) -> dict[str, Any]:
        path = document.path.parent / Path(name).expanduser()
        if path.resolve() in chain:
            raise UnreadableFile(str(path), "refers to itself by way of other files")
        documents = parse(text_of(path), path)
        return resolved(documents[0], environ, chain).data if documents else {}

    data = document.data
    try:
        data = expressions.resolve(data, root=data, read_file=read_file, environ=environ)
    except ExpressionError as error:
        raise InvalidResource.at(document.at(error.loc), error.loc, error.fact) from None
    return replace(document, data=data)


@contextmanager
def editing(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a file holds, or nothing, to be changed; then write it as a whole or not at all.

    Comments stay where a single value is exchanged or added, and at the top of the file in any
    case.

    :raises UnreadableFile: the file cannot be read or written, or its format cannot hold the data
    """
    text = text_of(path) if path.exists() else ""
    document = next(iter(parse(text, path)), Document({}, path))
    data = copy.deepcopy(document.data)
    yield data
    top = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True))
    for candidate in (_exchanged(text, document, data), "".join(top) + _dumped(data, path)):
        with suppress(UnreadableFile):
            if [document.data for document in parse(candidate, path)] == ([data] if data else []):
                return write(path, candidate)
    raise UnreadableFile(str(path), "cannot be edited without loss; change it by hand")


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    path = path.resolve()  # so that a link stays a link
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UnreadableFile(str(path), f"cannot be written: {error.strerror}") from None


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value that is no mapping, or an empty one, with the keys that lead to it."""
    if isinstance(value, dict) and (value or not keys):
        for key, item in value.items():
            yield from leaves(item, (*keys, str(key)))
    else:
        yield keys, value


def _exchanged(text: str, document: Document, data: dict[str, Any]) -> str:
    """Return the text with the first value that differs put in, and all else as it was."""
    old = dict(leaves(document.data))
    changed = (leaf for leaf in leaves(data) if leaf[0] not in old or old[leaf[0]] != leaf[1])
    if document.node is None or not (leaf := next(changed, None)):
        return text
    return exchanges.put(text, document.node, *leaf, as_json=document.path.suffix == ".json")


def _dumped(data: dict[str, Any], path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if path.suffix != ".toml":
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True) if data else ""
    # Scalars and lists are written alike in JSON and TOML, and dotted keys spare the tables.
    return "".join(
        f"{'.'.join(map(_toml_key, keys))} = {json.dumps(value, ensure_ascii=False, default=str)}\n"
        for keys, value in leaves(data)
    )


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)


def _child(node: Node, key: str | int) -> tuple[Node, int] | None:
    """Return what is under a key or at an index, and the line it begins on."""
    if isinstance(node, MappingNode):
        # Backwards, because PyYAML puts what a merge brings before what the mapping itself says.
        pairs = ((value, _line(k)) for k, value in reversed(node.value) if k.value == str(key))
        return next(pairs, None)
    if isinstance(node, SequenceNode) and str(key).isdecimal() and int(key) < len(node.value):
        return node.value[int(key)], _line(node.value[int(key)])
    return None


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise UnreadableFile(str(folder), f"cannot be read: {error.strerror}") from None
    for entry in entries:
        passed_over = entry.name.startswith(".") or entry.name in ("__pycache__", "node_modules")
        if passed_over or (entry / "pyvenv.cfg").exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.suffix.lower() in SUFFIXES and entry.is_file():
            yield entry


# Formats -------------------------------------------------------------------------------------


def _parse_yaml(text: str, path: Path) -> Iterator[Document]:
    depth, first = 0, True
    try:
        for event in yaml.parse(text, _loader()):  # libyaml crashes on a text nested too deeply
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise RecursionError
        loader = _loader()(text)
        while loader.check_node() and (node := loader.get_node()):
            _check(node, path, {})
            start = 1 if first else _line(node)
            yield Document(loader.construct_document(node), path, start, node)
            first = False
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):  # libyaml counts while it looks ahead, since 0.2.6
            raise RecursionError from None
        raise _malformed(error, text, path) from None


def _parse_json(text: str, path: Path) -> Iterator[Document]:
    try:
        data: Any = json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        fact = f"malformed JSON: {error.msg.lower()}; found {_found(text, error.lineno - 1)}"
        raise UnreadableFile(f"{path}:{error.lineno}:{error.colno}", fact) from None
    try:  # JSON is nearly YAML, which alone tells the lines
        node = yaml.compose(text, _loader())
    except yaml.YAMLError:
        node = None
    if node:
        _check(node, path, {})
    yield Document(data, path, 1, node)


def _parse_toml(text: str, path: Path) -> Iterator[Document]:
    try:
        yield Document(tomllib.loads(text), path)
    except tomllib.TOMLDecodeError as error:
        raise UnreadableFile(str(path), f"malformed TOML: {error}") from None


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    fastest: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Dates stay text, as in JSON, and `=` is an operator in conditions, not YAML's "value" type.
    left_out = {_TAG + "timestamp", _TAG + "value"}
    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in left_out]
        for first, known in fastest.yaml_implicit_resolvers.items()
    }
    return type("Loader", (fastest,), {"yaml_implicit_resolvers": resolvers})


def _check(node: Node, path: Path, sizes: dict[int, int]) -> int:
    """Refuse what is not plain data, and return how many values the node stands for.

    Keys become text as written on the way.
    """

    def refuse(fact: str, at: Node = node) -> NoReturn:
        raise UnreadableFile(f"{path}:{_line(at)}", fact)

    if id(node) in sizes:  # by an alias
        return sizes[id(node)] or refuse("a value that holds itself")
    if node.tag not in _PLAIN:
        refuse(f"the tag {node.tag.replace(_TAG, '!!')} is not plain data; write a text instead")
    sizes[id(node)] = 0  # until all it holds is counted
    children = node.value if isinstance(node, SequenceNode) else []
    if isinstance(node, MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                refuse("a key should be a text, not a list or a mapping", key)
            if key.value in lines:
                refuse(f"key {key.value!r} appears twice, first on line {lines[key.value]}", key)
            lines[key.value] = _line(key)
            key.tag = key.tag if key.tag == _TAG + "merge" else _TAG + "str"
            children.append(value)
    sizes[id(node)] = size = 1 + sum(_check(value, path, sizes) for value in children)
    if size > MAX_VALUES:
        refuse(f"more than {MAX_VALUES:,} values, where each use of an alias counts")
    return size


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _malformed(error: yaml.YAMLError, text: str, path: Path) -> UnreadableFile:
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", error))
    mark = getattr(error, "problem_mark", None)
    if "unexpected end" in problem:  # of the file; where the quote began says more
        mark = getattr(error, "context_mark", None) or mark
    before = text[: getattr(error, "position", 0)]  # of a character that no YAML may hold
    line = mark.line if mark else before.count("\n")
    column = mark.column if mark else len(before) - before.rfind("\n") - 1
    problem = next((words for part, words in _IN_OTHER_WORDS.items() if part in problem), problem)
    fact = f"malformed YAML: {problem}; found {_found(text, line)}"
    return UnreadableFile(f"{path}:{line + 1}:{column + 1}", fact)


def _found(text: str, line: int) -> str:
    lines = text.splitlines()
    return repr(lines[line].strip()[:60]) if line < len(lines) else "the end of the file"
