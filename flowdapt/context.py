"""The run and the stage that the current code belongs to."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from flowdapt.resources import Workflow
    from flowdapt.runs import Run


class Sealed(Protocol):
    """A config with secrets that are ciphertext until a stage asks for it; can be pickled."""

    def __call__(self) -> dict[str, Any]:
        """Return the config with its secrets opened; always the same object in one process."""

    def mask(self, text: str) -> str:
        """Return ``text`` without the secrets, once they were opened in this process."""


class _Config:
    """The field ``config``: what is sealed is opened when it is first read, and not before."""

    def __get__(self, context: Any, _: object) -> Any:
        given = None if context is None else vars(context)["config"]  # None is the default
        return given() if callable(given) else given

    def __set__(self, context: Any, given: Any) -> None:
        vars(context)["config"] = {} if given is None else given


class Address(NamedTuple):
    """Where a process finds what keeps objects: what to call there, and with what.

    :param target: as in a :class:`flowdapt.hooks.Provider`
    :param options: keyword arguments, as a JSON object
    """

    target: str
    options: str = "{}"


#: the environment variable with a :class:`Places` as an array of JSON: for the threads and children
#: that stages start
PLACES = "FLOWDAPT_PLACES"


@dataclass(frozen=True, slots=True)
class Places:
    """Where objects are kept, see :mod:`flowdapt.objects`.

    :param memory: of a :class:`flowdapt.objects.Memory`; absent where no plugin offers one
    :param artifacts: of :class:`flowdapt.objects.Artifacts`, likewise
    :param strategy: which of them is meant where nobody says
    """

    memory: Address | None
    artifacts: Address | None
    strategy: str = "fallback"


@dataclass(eq=False, repr=False)  # a repr would open what is sealed, and show it
class WorkflowRunContext:
    """What a stage may ask about its run.

    :param input: the run's input, whole, in every stage
    :param config: the data of the configs that select the workflow, merged, or :class:`Sealed`;
        a stage always finds the data, with its secrets in place
    :param executor: the executor's kind, such as ``local``
    :param stage: the stage that runs now
    :param item: the index of the element, in a parameterized stage; through several that map over
        one another it is that in the first list
    :param attempt: which attempt this is, from 1
    :param cancelled: it is to end: the run was cancelled, or the attempt took as long as it may;
        becomes true while the stage is computed, a moment before that is interrupted
    :param objects: where its objects are; absent, where those of any process are
    :param asks: how its code asks the server, see :mod:`flowdapt_workers.asking`
    :param run_data: the run as plain data; :attr:`run` is the same as a model
    :param definition_data: the workflow as plain data; :attr:`definition` is the same as a model
    """

    input: dict[str, Any] = field(default_factory=dict)
    namespace: str = "default"
    executor: str = ""
    config: _Config = _Config()
    stage: str = ""
    item: int | None = None
    attempt: int = 1
    cancelled: bool = False
    objects: Places | None = None
    asks: object = None
    run_data: dict[str, Any] = field(default_factory=dict)
    definition_data: dict[str, Any] = field(default_factory=dict)

    def at(self, stage: str, item: int | None = None) -> WorkflowRunContext:
        """Return the same as code of that stage and element sees it; nothing is opened by that."""
        seen = object.__new__(type(self))
        vars(seen).update(vars(self), stage=stage, item=item)
        return seen

    @property
    def idempotency_key(self) -> str:
        """A text that is the same at each attempt of this stage and element, within this run.

        Give it to services outside, so that they know what comes again.
        """
        return str(uuid5(UUID(str(self.run_data["uid"])), f"{self.stage} {self.item}"))

    def mask(self, text: str) -> str:
        """Return ``text`` without the secrets that stages of the run were given here."""
        given = vars(self)["config"]
        return given.mask(text) if callable(given) else text

    # Built on first use: most stages never ask, and a worker need not import the models for them.
    @cached_property
    def run(self) -> Run:
        """A copy of the run: its ``uid``, ``name``, ``workflow``, ``started_at`` and so on."""
        from flowdapt.runs import Run

        return Run.model_validate(self.run_data)

    @cached_property
    def definition(self) -> Workflow:
        """A copy of the workflow as the run began with it."""
        from flowdapt.resources import Workflow

        return Workflow.model_validate(self.definition_data)


_current: ContextVar[WorkflowRunContext] = ContextVar("flowdapt_run_context")


def get_run_context() -> WorkflowRunContext:
    """Return the context of the run that the calling code belongs to.

    :raises RuntimeError: the caller is not part of a stage
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "there is no run context here: get_run_context() works inside a stage, and in what a "
            "stage calls in the same thread or task"
        ) from None


def set_run_context(context: WorkflowRunContext) -> Token[WorkflowRunContext]:
    """Make ``context`` the current one; give the token to :func:`reset_run_context`."""
    return _current.set(context)


def reset_run_context(token: Token[WorkflowRunContext]) -> None:
    """Go back to the context before :func:`set_run_context`."""
    _current.reset(token)
