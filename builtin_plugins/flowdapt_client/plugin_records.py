"""What a server tells of the plugins of a cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flowdapt.resources import Model, Timestamp


class Distribution(Model):
    """A distribution of a set, pinned by the hash of its wheel."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


class PluginSet(Model):
    """Distributions that are used together."""

    id: str
    created_at: Timestamp
    namespaces: tuple[str, ...] = Field(
        description="Where it is active; `*` is wherever nothing else is."
    )
    wanted: dict[str, str] = Field(description="What was asked for by name, and as what.")
    distributions: tuple[Distribution, ...]
    python: str


class PluginNode(Model):
    """What a node has of what is active; an empty problem stands for all of it."""

    node: str
    problem: str


class PluginChange(Model):
    """How a change goes, or went."""

    id: str
    what: Literal["install", "upgrade", "remove", "rollback"]
    names: tuple[str, ...]
    namespace: str
    by: str
    dry_run: bool
    state: Literal["running", "done", "failed", "interrupted"]
    step: str = Field(description="Where it is, or ended.")
    error: str = Field(description="Why it failed, and then everything is as it was.")
    active: str = Field(description="The set that it made active, or would have.")
    added: dict[str, str] = Field(description="Distributions that come, with their versions.")
    removed: dict[str, str]
    nodes: dict[str, str] = Field(description="What was wrong, by node.")
    notes: tuple[str, ...] = ()
    started_at: Timestamp
    ended_at: Timestamp | None = None
