"""What can be wrong with what is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowdapt.errors import FlowdaptError, ResourceError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence


class AppDirUnusable(SettingsError):
    """The application directory cannot be made, or cannot be written to."""


class UnreadableFile(ResourceError):
    """A file cannot be read, is malformed, or holds no resource."""

    def __init__(self, where: str, fact: str) -> None:
        super().__init__(f"{where}: {fact}")
        self.where, self.fact = where, fact


class ExpressionError(FlowdaptError):
    """An expression such as ``$env{NAME}`` in a file cannot be resolved.

    :param loc: path of the field that holds the expression
    """

    def __init__(self, loc: Sequence[str | int], fact: str) -> None:
        super().__init__(f"{'.'.join(map(str, loc)) or 'document'}: {fact}")
        self.loc, self.fact = tuple(loc), fact
