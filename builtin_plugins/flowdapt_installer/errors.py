"""Why a change of the installed plugins is refused, or did not come about."""

from __future__ import annotations

from flowdapt.errors import InvalidInput, PluginError, ResourceChanged


class ChangeFailed(PluginError):
    """Plugins could not be changed, and everything is as it was; the message says why."""


class PolicyForbids(InvalidInput):
    """What is to be installed is not what the settings allow."""


class ChangeUnderWay(ResourceChanged):
    """Another change is being made.

    :param what: what it does, in words
    """

    def __init__(self, what: str) -> None:
        Exception.__init__(self, f"{what} is under way; wait for its end")
        self.what = what
