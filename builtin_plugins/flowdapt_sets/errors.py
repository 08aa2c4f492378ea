"""What can be wrong with a set on a node; all of it can be pickled, for it comes from there."""

from __future__ import annotations

from flowdapt.errors import PluginError


class SetUnusable(PluginError):
    """A set cannot be unpacked or imported here; the message says what of it, and why."""


class SetMissing(PluginError):
    """A set was not prepared on this node.

    :param id: of the set
    """

    def __init__(self, id: str) -> None:  # noqa: A002 - what sets have
        super().__init__(f"the plugin set {id} is not prepared on this node")
        self.id = id

    def __reduce__(self) -> tuple[type[SetMissing], tuple[str]]:
        return SetMissing, (self.id,)
