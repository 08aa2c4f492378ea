"""What a plugin set is: a list of distributions, each pinned by the hash of its wheel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

ID_LENGTH = 16  #: hexadecimal digits of the hash that a set is named by


@dataclass(frozen=True, slots=True)
class Wheel:
    """A distribution of a set.

    :param name: of the distribution, normalized
    :param file: the name of the wheel
    :param sha256: of its content, in hexadecimal digits
    :param size: bytes
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class PluginSet:
    """Distributions that are used together. The same ones are the same set, wherever it is made.

    :param wheels: sorted by name; no two have the same
    :param modules: what the entry points of its plugins name, to be imported as a check
    """

    wheels: tuple[Wheel, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What the set is called: made of its content."""
        content = json.dumps([[wheel.name, wheel.sha256] for wheel in self.wheels])
        return sha256(content.encode()).hexdigest()[:ID_LENGTH]

    def to_dict(self) -> dict[str, Any]:
        """Return the set as plain data."""
        return {"wheels": [asdict(wheel) for wheel in self.wheels], "modules": [*self.modules]}

    def to_json(self) -> str:
        """Return the set as text, which is the same for the same set."""
        return json.dumps(self.to_dict(), separators=(",", ":"), sort_keys=True)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> PluginSet:
        """Return the set that plain data describe."""
        wheels: Sequence[Mapping[str, Any]] = data["wheels"]
        return cls(tuple(Wheel(**wheel) for wheel in wheels), tuple(data["modules"]))

    @classmethod
    def from_json(cls, text: str) -> PluginSet:
        """Return the set that a text describes."""
        return cls.of(json.loads(text))
