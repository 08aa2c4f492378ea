"""Hooks that write a value as one file: a pickle, or JSON."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import orjson
from flowdapt_workers import payloads

from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.errors import ArtifactError
from flowdapt_artifacts.file import ArtifactFile

Save = Callable[[Artifact, Any], None]
Load = Callable[[Artifact], Any]
OBJECT = "object"  #: the file of :func:`save_object`, and its ``value_type``


def save_object(artifact: Artifact, value: Any) -> None:
    """Write any value as a pickle, as ``put`` does without a hook; nothing else stays in there.

    :raises flowdapt.errors.ResultNotPicklable: naming the type at fault
    """
    content = _pickled(value, f"object {artifact.name!r}")
    artifact.clear()
    artifact["value_type"] = OBJECT
    artifact.new_file(OBJECT, content)


def load_object(artifact: Artifact) -> Any:
    """Return what :func:`save_object` wrote."""
    try:
        content = artifact.get_file(OBJECT).read()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{artifact!r} has no file {OBJECT!r}: it was saved with a hook, as "
            f"{artifact['value_type']!r}, and is read with the partner of that"
        ) from None
    return _unpickled(artifact, OBJECT, content)


def json_to_artifact(name: str = "file") -> Save:
    """Return a hook that writes a value as ``NAME.json``."""

    def to_artifact(artifact: Artifact, value: Any) -> None:
        content = orjson.dumps(value, None, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        _write(artifact, "json", f"{name}.json", content)

    return to_artifact


def json_from_artifact(name: str = "file") -> Load:
    """Return a hook that reads what :func:`json_to_artifact` wrote.

    It raises an AssertionError where the artifact is of another type.
    """

    def from_artifact(artifact: Artifact) -> Any:
        _check(artifact, "json")
        return orjson.loads(artifact.get_file(f"{name}.json").read())

    return from_artifact


def pickle_to_artifact(name: str = "file") -> Save:
    """Return a hook that writes a value as ``NAME.pkl``."""

    def to_artifact(artifact: Artifact, value: Any) -> None:
        content = _pickled(value, f"object {artifact.name!r}")
        _write(artifact, "pickle", f"{name}.pkl", content)

    return to_artifact


def pickle_from_artifact(name: str = "file") -> Load:
    """Return a hook that reads what :func:`pickle_to_artifact` wrote.

    It raises an AssertionError where the artifact is of another type.
    """

    def from_artifact(artifact: Artifact) -> Any:
        _check(artifact, "pickle")
        return _unpickled(artifact, f"{name}.pkl", artifact.get_file(f"{name}.pkl").read())

    return from_artifact


def _write(artifact: Artifact, value_type: str, name: str, content: bytes) -> None:
    with artifact.transaction():
        artifact["value_type"] = value_type
        ArtifactFile(name, artifact).write(content)


def _check(artifact: Artifact, value_type: str) -> None:
    if (found := artifact["value_type"]) != value_type:
        raise AssertionError(f"{artifact!r} has the value_type {found!r}, not {value_type!r}")


def _pickled(value: Any, what: str) -> bytes:
    try:
        content: bytes = cloudpickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        payloads.dump(value, what)  # raises an error that names the part at fault
        raise
    return content


def _unpickled(artifact: Artifact, name: str, content: bytes) -> Any:
    try:
        return cloudpickle.loads(content)
    except (pickle.UnpicklingError, EOFError) as error:  # of files without a checksum
        raise ArtifactError(f"file {name!r} of {artifact!r} is no pickle: {error}") from error
