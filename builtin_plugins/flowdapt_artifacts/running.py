"""Artifacts as code in a stage asks for them: where the settings say, in the run's namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt.context import get_run_context
from flowdapt_artifacts import commits
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.commits import ABANDONED_SECONDS
from flowdapt_artifacts.configured import Configured, placed
from flowdapt_artifacts.places import Root


def new_artifact(
    name: str, namespace: str = "", protocol: str = "", base_path: str = "", **params: Any
) -> Artifact:
    """Make an artifact without files.

    :param namespace: by default the run's
    :param protocol: of fsspec; by default as in the settings, like what follows
    :param base_path: the folder that ``artifacts`` is in
    :param params: for the file system
    :raises FileExistsError: there is one of that name
    :raises ValueError: a name is none
    :raises RuntimeError: the caller belongs to no run
    """
    namespace, at, params = _meant("new_artifact", namespace, protocol, base_path, params)
    return Artifact.new_artifact(name, namespace, *at, **params)


def get_artifact(
    name: str,
    namespace: str = "",
    protocol: str = "",
    base_path: str = "",
    *,
    create: bool = False,
    **params: Any,
) -> Artifact:
    """Return an artifact, see :func:`new_artifact`.

    :param create: make it if it is not there
    :raises FileNotFoundError: it is not there
    """
    namespace, at, params = _meant("get_artifact", namespace, protocol, base_path, params)
    return Artifact.get_artifact(name, namespace, *at, create=create, **params)


def list_artifacts(
    namespace: str = "", protocol: str = "", base_path: str = "", **params: Any
) -> list[Artifact]:
    """Return the artifacts of a namespace in the order of their names, see :func:`new_artifact`."""
    namespace, at, params = _meant("list_artifacts", namespace, protocol, base_path, params)
    return Artifact.list_artifacts(namespace, *at, **params)


def check_if_artifact_exists(
    name: str, namespace: str = "", protocol: str = "", base_path: str = "", **params: Any
) -> bool:
    """Tell whether there is an artifact of that name, see :func:`new_artifact`."""
    namespace, at, params = _meant("does_exist", namespace, protocol, base_path, params)
    return Artifact.does_exist(name, namespace, *at, **params)


def sweep(
    protocol: str = "", base_path: str = "", *, age: float = ABANDONED_SECONDS, **params: Any
) -> None:
    """Remove what killed writers left behind; nobody sees it, but it takes room.

    :param protocol: by default as in the settings, like what follows
    :param age: seconds after which a writer is taken for dead where it cannot be known: anywhere
        but on a local disk
    """
    usual = placed()[0] if not base_path else Configured(protocol or "file")
    at = (protocol or usual.protocol, base_path or usual.base_path)
    commits.sweep(Root.at(*at, {**usual.parameters, **params}), age=age)


def _meant(
    method: str, namespace: str, protocol: str, base_path: str, params: Mapping[str, Any]
) -> tuple[str, tuple[str, str], dict[str, Any]]:
    try:
        context = get_run_context()
    except RuntimeError:
        raise RuntimeError(
            "there is no run here to take the namespace and the storage from: "
            f"outside a stage, use Artifact.{method}() and say where"
        ) from None
    usual, _ = placed()
    if protocol not in ("", usual.protocol):
        usual = Configured(protocol)  # what the settings say is meant for another file system
    at = (usual.protocol, base_path or usual.base_path)
    return namespace or context.namespace, at, {**usual.parameters, **params}
