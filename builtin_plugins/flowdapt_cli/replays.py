"""Which stages have to be computed so that one of them is computed again, and which are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowdapt.errors import nearest
from flowdapt.resources import Stage, Workflow, WorkflowSpec
from flowdapt.runs import Selection
from flowdapt_cli.errors import CommandError

if TYPE_CHECKING:
    from flowdapt.walks import Type
    from flowdapt_cli.past import Past

#: options of stages that mean nothing to who watches
_NOT_HERE = {"retries", "backoff", "retry_on", "timeout"}

Stored = Callable[[str], list[Any]]  #: the result of a stage as the only element, if it is stored


@dataclass
class Plan:
    """How one stage of a run is computed again.

    :param types: stage types by the names that stages use
    :param stored: asked for the results of the stages that it needs
    :param item: the element to compute; absent, all of it
    :ivar known: results that are taken as they were, by stage
    :ivar again: stages that are computed before it, in the order of the file
    """

    past: Past
    types: Mapping[str, Type]
    stored: Stored
    stage: str
    item: int | None = None
    known: dict[str, Any] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stages = {stage.name: stage for stage in self.past.workflow.spec.stages}
        if self.stage not in self._stages:
            near = nearest(self.stage, self._stages) or f"; there are {', '.join(self._stages)}"
            workflow = self.past.workflow.name
            raise CommandError(f"workflow {workflow!r} has no stage {self.stage!r}{near}")
        self._target = self._stages[self.stage]
        if self.item is not None and not self._maps(self._target):
            raise CommandError(f"stage {self.stage!r} is not parameterized: leave out --item")
        self._need(self._target)
        self.again = [name for name in self._stages if name in self.again]

    def _maps(self, stage: Stage) -> bool:
        return stage.type in self.types and self.types[stage.type].mapped

    def _need(self, stage: Stage) -> None:
        """Have the results that a stage takes: as they were stored, else computed before it."""
        for name in stage.depends_on:
            if name in self.known or name in self.again:
                continue
            # Of a list that lacks elements nobody knows which these are.
            lacks = self._maps(self._stages[name]) and name in self.past.failed
            if found := [] if lacks else self.stored(name):
                self.known[name] = found[0]
            else:
                self.again.append(name)
                self._need(self._stages[name])

    def workflow(self) -> Workflow:
        """Return a workflow of the stage and what it needs, whose result is that of the stage.

        What is known is a function that returns it. Resources are no matter in one process, nobody
        is to be too late who looks around at a breakpoint, and who fails is not to be tried again.
        """
        made = []
        for name, stage in self._stages.items():
            options = {key: value for key, value in stage.options.items() if key not in _NOT_HERE}
            facts: dict[str, Any] = {"resources": {}, "options": options}
            if name in self.known:
                facts |= {"target": _Known(self.known[name]), "type": "simple", "options": {}}
                facts["depends_on"] = ()
            elif name == self.stage:
                facts["options"] = {**options, "allow_partial_failure": False}
            elif name not in self.again:
                continue
            made.append(stage.model_copy(update=facts))
        spec = WorkflowSpec(stages=tuple(made))
        return self.past.workflow.model_copy(update={"spec": spec})

    def only(self) -> dict[str, Selection]:
        """Return which elements are computed, of stages that do not compute all of theirs.

        Of the mapped stages that a mapped one follows, the first chooses, unless other stages
        need all that these return.

        :raises CommandError: there is no such element, or it is not known how many there are
        """
        if self.item is None:
            return {}
        chain = [self._target]
        while (above := self._mapped_over(chain[-1])) is not None:
            chain.append(above)
        names = {stage.name for stage in chain}
        others = [self._stages[name] for name in self.again if name not in names]
        shared = any(names & {*stage.depends_on} for stage in others)
        shared |= any(names & {*stage.depends_on[1:]} for stage in chain)
        # Those of a mapped stage carry their indexes; how many there were need not be known then.
        known = self._count(chain[-1])
        if known is None and len(chain) == 1:
            raise CommandError(
                f"how many items stage {self.stage!r} has is not known, because it did not begin: "
                "leave out --item"
            )
        count = self.item + 1 if known is None else known
        if not 0 <= self.item < count:
            said = f"there is no item {self.item} of stage {self.stage!r}, which had {count:,}"
            if self.past.run.retry_of is not None:  # perhaps of a few of them
                said += "; the run repeats another one, so replay that"
            raise CommandError(said)
        chosen = self._target if shared or known is None else chain[-1]
        return {chosen.name: Selection(of=count, items=(self.item,))}

    def _mapped_over(self, stage: Stage) -> Stage | None:
        """Return the mapped stage whose elements a stage has, if it is computed again."""
        over = None if stage.map_on else next(iter(stage.depends_on), None)
        found = None if over is None or over in self.known else self._stages[over]
        return found if found is not None and self._maps(found) else None

    def _count(self, stage: Stage) -> int | None:
        """Return how many elements a stage has, if that is known before it is computed."""
        if stage.map_on:
            return _length(self.past.run.input.get(stage.map_on))
        if stage.depends_on and stage.depends_on[0] in self.known:
            return _length(self.known[stage.depends_on[0]])
        record = self.past.records.get(stage.name)
        return None if record is None else record.items


class _Known:
    """A function that returns what a stage returned."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, **_: Any) -> Any:
        return self.value


def _length(value: Any) -> int:
    try:
        return len(value)
    except TypeError:
        return len(list(value)) if hasattr(value, "__iter__") else 0
