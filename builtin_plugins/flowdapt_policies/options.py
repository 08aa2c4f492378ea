"""How policies read their options, and refuse them before they are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from flowdapt.errors import InvalidResource
from flowdapt.policies import Policy
from flowdapt.resources import Stage, Workflow
from flowdapt.settings import Duration

_SECONDS = TypeAdapter[float](Annotated[Duration, Field(gt=0, allow_inf_nan=False)])


class OptionPolicy(Policy, ABC):
    """A policy that reads each of its options when the workflow is checked."""

    @abstractmethod
    def read(self, key: str, value: Any, stage: Stage | None) -> Any:
        """Return what an option means.

        :param stage: whose option it is; absent, the workflow's
        :raises ValueError: it means nothing; saying what would be right
        """

    async def check(self, workflow: Workflow, where: str) -> None:
        """Refuse options that mean nothing."""
        spec = workflow.spec
        for key in self.workflow_options:
            if key in spec.options:
                self._read(key, spec.options[key], None, where=where, at=("spec",))
        for i, stage in enumerate(spec.stages):
            for key in self.stage_options:
                if key in stage.options:
                    at = "spec", "stages", i
                    self._read(key, stage.options[key], stage, where=where, at=at)

    def _read(
        self, key: str, value: Any, stage: Stage | None, *, where: str, at: tuple[str | int, ...]
    ) -> None:
        try:
            self.read(key, value, stage)
        except ValueError as error:
            raise InvalidResource.at(where, (*at, "options", key), str(error)) from None


def seconds(key: str, value: Any) -> float:
    """Return a length of time, given as a number or as a text such as ``90s`` or ``2h``.

    :raises ValueError: it is none, or not more than 0
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        return _SECONDS.validate_python(value)
    except ValueError:
        right = "a number of seconds above 0, or a text such as '90s' or '2h'"
        raise ValueError(f"{key!r} is {value!r}, and must be {right}") from None


def one_of(key: str, value: Any, known: tuple[str, ...]) -> str:
    """Return a word that is known.

    :raises ValueError: naming those that are
    """
    if value not in known:
        raise ValueError(f"{key!r} is {value!r}, and must be one of {', '.join(known)}")
    return str(value)
