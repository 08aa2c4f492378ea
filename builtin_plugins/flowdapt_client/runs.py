"""Starting, following, finding and ending runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from flowdapt.resources import Workflow
from flowdapt.runs import RunState, StageRecord
from flowdapt_client import items, logs, waiting
from flowdapt_client.addresses import Named, OfRun, about, about_run, path, run_path
from flowdapt_client.binding import Asking, Group, Iterating
from flowdapt_client.hearing import AWAY_SECONDS
from flowdapt_client.reading import read, read_list
from flowdapt_client.run_records import (
    ItemPage,
    ItemSummary,
    LogLine,
    Run,
    RunHistory,
    RunItem,
    RunPage,
)
from flowdapt_client.steps import Call, Item, Items, Request
from flowdapt_client.streams import Awaiting, Blocking
from flowdapt_client.waiting import Progress

KIND = "workflow_run"
PAGE = 100  #: runs in one answer, where more are wanted
ITEMS = 1000  #: and items

_S = TypeVar("_S", bound=Blocking | Awaiting)


class Runs(Group[_S]):
    """What a client does with runs; a run is meant by its name, its uid, or as it was returned."""

    @Asking
    def start(
        self,
        workflow: Named,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that users know
        *,
        namespace: str | None = None,
        key: str | None = None,
    ) -> Call[Run]:
        """Start a run and return it as it begins.

        :param key: stands for this start: with the same key again, the same run is returned, and
            no other is started
        :raises ResourceNotFound: there is no such workflow
        """
        return (yield from _start(workflow, input, namespace, key))

    @Asking
    def run(
        self,
        workflow: Named,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that users know
        *,
        namespace: str | None = None,
        key: str | None = None,
        progress: Progress | None = None,
        away: float | None = AWAY_SECONDS,
    ) -> Call[Run]:
        """Start a run, and return it once it has ended, however it did.

        :param key: as of :meth:`start`
        :param progress: as of :meth:`wait`
        :param away: as of :meth:`wait`
        :raises ResourceNotFound: there is no such workflow
        """
        begun = yield from _start(workflow, input, namespace, key)
        return (yield from waiting.until_ended(begun, progress, away))

    @Iterating
    def stream(
        self,
        workflow: Named,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that users know
        *,
        namespace: str | None = None,
        key: str | None = None,
        cancel: bool = False,
        begun: Callable[[UUID], object] | None = None,
        restarted: Callable[[], object] | None = None,
        away: float | None = AWAY_SECONDS,
    ) -> Items[Any]:
        """Start a run, and yield its items while it goes on; closing the stream does not stop it.

        They are what its last stage yields, if that is a generator; else the elements of its
        result, if that is a list; else the result.

        :param key: as of :meth:`start`; the items that a run has yielded so far come at once. With
            a key, a stream goes on as it is once a lost connection was made anew; without, the rest
            comes from the result.
        :param cancel: stop the run if the stream is closed before it has ended
        :param begun: called with the uid of the run, before its first item
        :param restarted: called where the stage begins anew, as after its worker was lost: forget
            the items so far, as all come again. Without it, that is an error.
        :param away: as of :meth:`wait`, where the connection is lost
        :raises ResourceNotFound: there is no such workflow
        :raises RunFailed: the run failed, or was cancelled; behind the items that there are
        :raises StageRestarted: the stage begins anew
        """
        query = {"cancel_on_disconnect": "true"} if cancel else {}
        request = _starting(workflow, input, namespace, key, query)
        return about("workflow", workflow, items.streamed(request, begun, restarted, away))

    @Asking
    def wait(
        self,
        run: OfRun,
        *,
        progress: Progress | None = None,
        away: float | None = AWAY_SECONDS,
    ) -> Call[Run]:
        """Return a run once it has ended, however it did.

        :param progress: called with the stages that began, whenever one of them went on; it must
            return soon
        :param away: how many seconds the server may be away before that is an error; ``None`` for
            as long as it takes
        :raises ResourceNotFound: there is no such run, or it was deleted
        :raises NoServer: the server is away for longer
        """
        return (yield from waiting.until_ended(run, progress, away))

    @Asking
    def get(self, run: OfRun) -> Call[Run]:
        """Return a run with its result.

        :raises ResourceNotFound: there is none
        """
        return (yield from waiting.get(run))

    @Iterating
    def list(
        self,
        workflow: Named | None = None,
        *,
        state: RunState | str | Collection[RunState | str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        order: Literal["newest", "oldest"] = "newest",
        limit: int | None = None,
    ) -> Items[Run]:
        """Yield runs; more are asked for as they are wanted. Large results are left out.

        :param state: one of these
        :param since: only runs that were accepted then or later
        :param until: only runs that were accepted before
        :param limit: at most so many
        """
        states = [state] if isinstance(state, str) else [*state]
        query = {"workflow": workflow, "state": states, "since": since, "until": until}
        left, cursor = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            asked = {**query, "order": order, "limit": size, "cursor": cursor}
            page = read(RunPage, (yield Request("GET", "/runs/", query=asked)))
            for run in page.runs:
                yield Item(run)
            left = None if left is None else left - len(page.runs)
            cursor = page.next
            if cursor is None:
                return

    @Asking
    def stages(self, run: OfRun) -> Call[Sequence[StageRecord]]:
        """Return how the stages of a run stand, those that began.

        :raises ResourceNotFound: there is no such run
        """
        return (yield from waiting.stages(run))

    @Asking
    def history(self, run: OfRun) -> Call[RunHistory]:
        """Return what happened to a run and its stages, and what they used together.

        :raises ResourceNotFound: there is no such run
        """
        request = Request("GET", run_path(run, "history"), kind=KIND)
        return read(RunHistory, (yield from about_run(run, _answer(request))))

    @Asking
    def definition(self, run: OfRun) -> Call[Workflow]:
        """Return the workflow as a run began with it.

        :raises ResourceNotFound: there is no such run, or it was not kept
        """
        request = Request("GET", run_path(run, "definition"), kind="workflow")
        return read(Workflow, (yield from about_run(run, _answer(request))))

    @Asking
    def stage_result(self, run: OfRun, stage: str) -> Call[bytes]:
        """Return what a stage handed on, as :func:`flowdapt_workers.stored.loaded` reads it.

        That unpickles it, which may run any code: do it only with what your own server answers.

        :raises ResourceNotFound: there is no such run
        :raises Refused: with the status 404, the result is not stored, such as a large one
        """
        request = Request("GET", run_path(run, "stages", stage, "result"), raw=True)
        found: bytes = yield from about_run(run, _answer(request))
        return found

    @Iterating
    def items(
        self,
        run: OfRun,
        *,
        stage: str | None = None,
        state: Literal["finished", "failed"] | None = None,
        order: Literal["index", "slowest"] = "index",
    ) -> Items[RunItem]:
        """Yield the elements of parameterized stages that have ended; more are asked for as wanted.

        :param stage: of this one only
        :param state: only those of which this became
        :param order: stage by stage, or those first that took longest
        :raises ResourceNotFound: there is no such run
        """
        after: int | None = None
        while True:
            query = {"stage": stage, "state": state, "order": order, "after": after, "limit": ITEMS}
            request = Request("GET", run_path(run, "items"), query=query)
            page = read(ItemPage, (yield from about_run(run, _answer(request))))
            for item in page.items:
                yield Item(item)
            after = page.next
            if after is None or not page.items:
                return

    @Asking
    def item_summaries(self, run: OfRun) -> Call[Sequence[ItemSummary]]:
        """Return how many elements each parameterized stage has, and how long they took.

        :raises ResourceNotFound: there is no such run
        """
        request = Request("GET", run_path(run, "items", "summary"))
        return read_list(ItemSummary, (yield from about_run(run, _answer(request))))

    @Iterating
    def logs(
        self, run: OfRun, *, follow: bool = False, away: float | None = AWAY_SECONDS
    ) -> Items[LogLine]:
        """Yield what the stages of a run wrote, in order.

        :param follow: until the run has ended; else only what there is
        :param away: as of :meth:`wait`
        :raises ResourceNotFound: there is no such run
        """
        return about_run(run, logs.followed(run, away) if follow else logs.stored(run))

    @Asking
    def cancel(self, run: OfRun) -> Call[Run]:
        """Stop a run, and return it once it has ended; one that has ended stays as it is.

        :raises ResourceNotFound: there is none
        """
        return (yield from _one("POST", run, "cancel"))

    @Asking
    def retry(self, run: OfRun, *, items: Literal["all", "failed"] = "all") -> Call[Run]:
        """Start a run in place of one that has ended, and return it as it begins.

        :param items: ``failed`` computes only the elements that failed
        :raises ResourceNotFound: there is no such run
        """
        return (yield from _one("POST", run, "retry", items=items, wait="false"))

    @Asking
    def delete(self, run: OfRun) -> Call[Run]:
        """Remove a run and return it; one in progress is cancelled first.

        :raises ResourceNotFound: there is none
        """
        return (yield from _one("DELETE", run))


def _start(
    workflow: Named, values: Mapping[str, Any] | None, namespace: str | None, key: str | None
) -> Call[Run]:
    request = _starting(workflow, values, namespace, key, {"wait": "false"})
    return read(Run, (yield from about("workflow", workflow, _answer(request))))


def _starting(
    workflow: Named,
    values: Mapping[str, Any] | None,
    namespace: str | None,
    key: str | None,
    query: Mapping[str, Any],
) -> Request:
    return Request(
        "POST",
        path("workflows", workflow, "run"),
        body=dict(values or {}),
        query={**query, "namespace": namespace},
        kind=KIND,
        headers={} if key is None else {"Idempotency-Key": key},
    )


def _one(method: str, run: OfRun, *parts: str, **query: str) -> Call[Run]:
    request = Request(method, run_path(run, *parts), query=query, kind=KIND)
    return read(Run, (yield from about_run(run, _answer(request))))


def _answer(request: Request) -> Call[Any]:
    return (yield request)
