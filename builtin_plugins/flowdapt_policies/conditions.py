"""Whether a stage is computed: an expression over the run's input and earlier results.

It is told in a worker, because only there results are what stages returned.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import EvalWithCompoundTypes

from flowdapt.context import get_run_context
from flowdapt.executors import Outcome
from flowdapt.policies import Compute
from flowdapt.resources import Stage
from flowdapt.stages import StageType, Target
from flowdapt.walks import Walk
from flowdapt_policies.options import OptionPolicy

NAMES = ("input", "config", "namespace", "results")  #: what an expression may speak of
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (abs, all, any, bool, float, int, len, max, min, round, sorted, str, sum)
}
_KNOWN = {*NAMES, *FUNCTIONS, "True", "False", "None", "true", "false", "null"}
_WORDS = {"true": True, "false": False, "null": None}


class ConditionFailed(ValueError):
    """What a condition says cannot be told of what there is."""


class Conditions(OptionPolicy):
    """Leaves out stages whose condition does not hold."""

    order = 0
    stage_options = ("when",)

    def read(self, key: str, value: Any, stage: Stage | None) -> str:
        """Return the expression, if it is one, and speaks of what there is."""
        if not isinstance(value, str) or not value.strip():
            right = "an expression such as \"input.mode == 'full'\""
            raise ValueError(f"{key!r} is {value!r}, and must be {right}")
        try:
            tree = ast.parse(value.strip(), mode="eval")
        except SyntaxError as error:
            raise ValueError(f"{key!r} is no expression: {error.msg}: {value!r}") from None
        bound = {
            n.id
            for c in ast.walk(tree)
            if isinstance(c, ast.comprehension)
            for n in ast.walk(c.target)
            if isinstance(n, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id not in _KNOWN | bound:
                raise ValueError(
                    f"{key!r} speaks of {node.id!r}; there are {', '.join(NAMES)}, and the "
                    f"functions {', '.join(FUNCTIONS)}"
                )
            if stage is not None and (result := _result(node)) and result not in stage.depends_on:
                raise ValueError(
                    f"{key!r} speaks of the result of {result!r}, which is none of the stages "
                    f"that {stage.name!r} depends on: {', '.join(stage.depends_on) or 'none'}"
                )
        return value.strip()

    async def stage(self, walk: Walk, stage: Stage, compute: Compute) -> Outcome:
        """Compute a stage if its condition holds; else hand on nothing, or no elements."""
        told = await walk.beside(
            stage,
            f"{__name__}.holds",
            *walk.refs(stage),
            type=f"{__name__}:Condition",
            options={
                "when": stage.options["when"],
                "names": stage.depends_on,
                "else": [] if walk.is_mapped_over(stage) else None,
            },
            resources={},
            final=True,
        )
        if bytes(told.json or b"") == b"true":
            return await compute()
        return Outcome(told.ref, json=told.json, stored=told.stored, skipped=True)


def _result(node: ast.AST) -> str:
    """Return the stage whose result a part of an expression is, if it is one."""
    named = isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name)
    if not named or node.value.id != "results":  # type: ignore[attr-defined]  # just asked
        return ""
    if isinstance(node, ast.Attribute):
        return node.attr
    key = getattr(node, "slice", None)
    return str(key.value) if isinstance(key, ast.Constant) else ""


class Condition(StageType):
    """What a worker computes in place of a stage, to know whether to compute it."""

    def function(self, target: Target, options: Mapping[str, Any]) -> Callable[..., Any]:
        """Return what tells whether the condition holds of some results."""
        del target
        return lambda *results: holds(
            options["when"], dict(zip(options["names"], results, strict=True)), options["else"]
        )


class _Evaluator(EvalWithCompoundTypes):  # type: ignore[misc]  # it has no types
    """Takes ``input.items`` for the key of that name, and not for a method."""

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        value = self._eval(node.value)
        if isinstance(value, Mapping) and node.attr in value:
            return value[node.attr]
        return super()._eval_attribute(node)


def holds(expression: str, results: Mapping[str, Any], otherwise: Any) -> Any:
    """Return whether an expression holds, and something else in place of ``False``.

    :raises ConditionFailed: it cannot be told
    """
    context = get_run_context()
    names = {
        "input": context.input,
        "config": context.config,
        "namespace": context.namespace,
        "results": results,
        **_WORDS,
    }
    evaluator = _Evaluator(functions=dict(FUNCTIONS), names=names)
    try:
        return True if evaluator.eval(expression) else otherwise
    except Exception as error:
        raise ConditionFailed(
            f"the condition {expression!r} cannot be told: {type(error).__name__}: {error}"
        ) from error
