"""Secrets that triggers name as ``$secret{NAME}``, opened where they are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowdapt.errors import FlowdaptError

if TYPE_CHECKING:
    from flowdapt.engine import Engine

MARK = "$secret{"


class SecretsLacking(FlowdaptError):
    """A secret is named, and no plugin keeps any."""

    def __init__(self) -> None:
        super().__init__("a secret is named, and no plugin keeps secrets here")


async def opened(engine: Engine, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return values with the secrets in place that their texts name.

    :raises SecretsLacking: nobody keeps secrets, and the text itself is none
    :raises FlowdaptError: one is not set
    """
    if not names_any(values):
        return values
    if engine.seal is None:
        raise SecretsLacking
    sealed = await engine.seal(dict(values))
    return dict(sealed())


def names_any(values: Any) -> bool:
    """Tell whether a text in values names a secret."""
    return MARK in json.dumps(values, default=str)
