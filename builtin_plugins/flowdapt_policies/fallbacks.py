"""What stands in for the result of a stage that failed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flowdapt_workers.targets import resolve

from flowdapt.errors import ResultsLost, RunCancelled, StageError
from flowdapt.executors import Outcome
from flowdapt.policies import Compute
from flowdapt.resources import Stage, now, timestamp
from flowdapt.stages import StageType, Target
from flowdapt.storage import LogBlock
from flowdapt.walks import Walk, failure_of
from flowdapt_policies.options import OptionPolicy

_PATH = r"[^\W\d]\w*(\.[^\W\d]\w*)+"


class Fallbacks(OptionPolicy):
    """Has another function called where a stage failed; what it returns stands for the result."""

    order = -20
    stage_options = ("on_failure",)

    def read(self, key: str, value: Any, stage: Stage | None) -> str:
        """Return the import path."""
        del stage
        if not isinstance(value, str) or not re.fullmatch(_PATH, value):
            right = "the import path of a function, such as 'package.module.function'"
            raise ValueError(f"{key!r} is {value!r}, and must be {right}")
        return value

    async def stage(self, walk: Walk, stage: Stage, compute: Compute) -> Outcome:
        """Compute a stage, or what stands in for it; if that fails, the stage does."""
        try:
            return await compute()
        except (RunCancelled, ResultsLost):  # which is computed again
            raise
        except StageError as error:
            failure = failure_of(error, stage.name)
        target = stage.options["on_failure"]
        _log(walk, stage, f"failed ({failure.type}: {failure.message}); {target} stands in for it")
        outcome = await walk.beside(
            stage,
            target,
            *walk.refs(stage),
            type=f"{__name__}:Fallback",
            options={"failure": failure.model_dump()},
            takes_input=not stage.depends_on,
        )
        return Outcome(**{**_fields(outcome), "failures": (failure,)})


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in outcome.__dataclass_fields__}


def _log(walk: Walk, stage: Stage, message: str) -> None:
    """Add a line to the log of the run."""
    line = {
        "time": timestamp(now()),
        "stream": "flowdapt",
        "level": "WARNING",
        "message": f"stage {stage.name!r} {message}",
    }
    walk.on_log(LogBlock(stage.name, json.dumps(line).encode() + b"\n", 1))


class Fallback(StageType):
    """Calls the function with the failure, and then what the stage was called with."""

    def function(self, target: Target, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the function, for which the failure is settled."""
        return partial(resolve(target), options["failure"])
