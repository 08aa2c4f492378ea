"""One run on its way through its graph: what is submitted when, and what is on record of it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_workers.inline import InlineExecutor
from flowdapt_workers.targets import built_in_types

from flowdapt.context import Sealed
from flowdapt.errors import NeverFits, RunCancelled, StageError, StorageError
from flowdapt.events import STAGE_CHANGED, Event, Events
from flowdapt.executors import (
    Call,
    Executor,
    Handle,
    Host,
    MapCall,
    Node,
    Outcome,
    Progress,
    Ref,
    StageFailed,
)
from flowdapt.resources import Workflow
from flowdapt.runs import Failure, Run, RunState, Selection, StageRecord
from flowdapt.storage import EventQuery, LogBlock
from flowdapt.walks import Walk

pytestmark = pytest.mark.anyio

MAPPED = {"type": "parameterized"}


class ByHand(Executor):
    """An executor whose stages end when the test says so."""

    kind = "by hand"

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cancelled: list[UUID] = []
        self._outcomes: dict[str, asyncio.Future[Outcome]] = {}
        self._submitted: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def submitted(self, stage: str) -> Call:
        """Wait until a stage was submitted, and return its call."""
        await asyncio.wait_for(self._submitted[stage].wait(), 5)
        return next(call for call in self.calls if call.stage == stage)

    def names(self) -> list[str]:
        """Return the stages that were submitted so far, in order."""
        return [call.stage for call in self.calls]

    def end(self, *stages: str, **facts: Any) -> None:
        """Have stages end at once; the result of each is its name."""
        for stage in stages:
            self._outcomes[stage].set_result(Outcome(stage, json=b"1", **facts))

    def fail(self, stage: str, error: StageError) -> None:
        """Have a stage fail."""
        self._outcomes[stage].set_exception(error)

    async def start(self, host: Host) -> None: ...

    async def stop(self) -> None: ...

    def submit(self, call: Call) -> Handle:
        self.calls.append(call)
        self._outcomes[call.stage] = asyncio.get_running_loop().create_future()
        self._submitted[call.stage].set()
        return Handle(self._outcomes[call.stage])

    async def fetch(self, ref: Ref) -> Any:
        return ref

    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        return {}

    async def cancel(self, run: UUID, stage: str | None = None) -> None:
        self.cancelled.append(run)

    async def release(self, run: UUID) -> None: ...

    async def nodes(self) -> Sequence[Node]:
        return []


def stage(name: str, *depends_on: str, **facts: Any) -> dict[str, Any]:
    """Return a stage as it stands in a workflow."""
    return {"name": name, "target": "farm.work", "depends_on": depends_on, **facts}


async def a_walk(
    executor: Executor, *stages: dict[str, Any], storage: MemoryStorage | None = None, **facts: Any
) -> Walk:
    """Return a run of these stages, stored and ready to be computed."""
    data = {"metadata": {"name": "farm"}, "spec": {"stages": list(stages)}}
    given = {key: facts.pop(key, {}) for key in ("input", "config")}
    run = Run(workflow="farm", code="c0de", **given).to(RunState.RUNNING)
    storage = storage or MemoryStorage()
    await storage.add_run(run)
    workflow = Workflow.parse(data, where="test")
    return Walk(run, workflow, storage, executor, built_in_types(), **facts)


# When a stage is submitted


async def test_a_stage_starts_when_its_own_dependencies_are_done_and_not_a_level_later() -> None:
    executor = ByHand()
    walk = await a_walk(
        executor,
        stage("load"),
        stage("slow 1", "load"),
        stage("fast 1", "load"),
        stage("fast 2", "slow 1"),
        stage("slow 2", "fast 1"),
        stage("join", "fast 2", "slow 2"),
    )
    run = walk.begin()

    await executor.submitted("load")
    executor.end("load")
    await executor.submitted("fast 1")
    executor.end("fast 1")

    await executor.submitted("slow 2")
    assert executor.names() == ["load", "slow 1", "fast 1", "slow 2"]
    executor.end("slow 1", "slow 2")
    await executor.submitted("fast 2")
    executor.end("fast 2")
    assert (await executor.submitted("join")).args == ("fast 2", "slow 2")
    executor.end("join")
    assert (await run).ref == "join"


async def test_in_a_diamond_of_functions_one_branch_may_wait_for_the_end_of_the_other(
    tmp_path: Path,
) -> None:
    fast_branch_done = asyncio.Event()

    async def slow(_: Any) -> str:
        await asyncio.wait_for(fast_branch_done.wait(), 5)
        return "slow"

    async def second_of_fast(_: Any) -> str:
        fast_branch_done.set()
        return "fast"

    executor = InlineExecutor()
    walk = await a_walk(
        executor,
        stage("load", target=lambda: 1),
        stage("slow", "load", target=slow),
        stage("fast", "load", target=lambda x: x),
        stage("faster", "fast", target=second_of_fast),
        stage("join", "slow", "faster", target=lambda a, b: [a, b]),
    )
    await executor.start(Host(app_dir=tmp_path))

    outcome = await walk.compute()

    assert outcome.json == b'["slow","fast"]'
    await executor.stop()


async def test_stages_without_dependencies_start_at_once_in_file_order() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("b"), stage("a"), stage("c", "a", "b"))
    run = walk.begin()

    await executor.submitted("a")

    assert executor.names() == ["b", "a"]
    executor.end("a", "b")
    await executor.submitted("c")
    executor.end("c")
    await run


async def test_dependencies_that_end_at_once_start_their_dependent_once() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b"), stage("c", "a", "b"))
    run = walk.begin()
    await executor.submitted("b")

    executor.end("a", "b")

    await executor.submitted("c")
    executor.end("c")
    await run
    assert executor.names() == ["a", "b", "c"]


async def test_a_stage_that_could_begin_early_and_is_ready_at_once_is_submitted_once() -> None:
    executor = ByHand()
    walk = await a_walk(
        executor,
        stage("list", options={"map_on": "xs"}, **MAPPED),
        stage("model"),
        stage("predict", "list", "model", **MAPPED),
    )
    run = walk.begin()
    await executor.submitted("model")

    executor.end("model", "list")

    await executor.submitted("predict")
    executor.end("predict")
    await run
    assert executor.names() == ["list", "model", "predict"]


# Mapped stages that feed mapped stages


async def test_a_mapped_stage_over_a_mapped_one_begins_while_that_is_still_at_it() -> None:
    executor = ByHand()
    walk = await a_walk(
        executor,
        stage("fetch", options={"map_on": "xs"}, **MAPPED),
        stage("parse", "fetch", **MAPPED),
        stage("store", "parse", **MAPPED),
        input={"xs": [1]},
    )
    run = walk.begin()

    store = await executor.submitted("store")

    assert executor.names() == ["fetch", "parse", "store"]
    fetch, parse = executor.calls[:2]
    assert isinstance(fetch, MapCall)
    assert isinstance(parse, MapCall)
    assert isinstance(store, MapCall)
    assert (fetch.over, fetch.map_on, fetch.takes_input) == (None, "xs", True)
    assert isinstance(parse.over, Handle)
    assert isinstance(store.over, Handle)
    assert [call.mapped_on for call in executor.calls] == [True, True, False]
    executor.end("fetch", "parse", "store")
    assert (await run).ref == "store"


async def test_a_mapped_stage_over_one_that_has_ended_is_given_its_handle_too() -> None:
    executor = ByHand()
    walk = await a_walk(
        executor,
        stage("fetch", options={"map_on": "xs"}, **MAPPED),
        stage("model"),
        stage("predict", "fetch", "model", **MAPPED),
    )
    run = walk.begin()
    await executor.submitted("model")

    executor.end("fetch", "model")

    predict = await executor.submitted("predict")
    assert isinstance(predict, MapCall)
    assert isinstance(predict.over, Handle)
    assert predict.args == ("model",)
    executor.end("predict")
    await run


async def test_a_call_says_which_elements_are_to_be_computed() -> None:
    executor, only = ByHand(), {"first": Selection(of=3, items=(1,))}
    walk = await a_walk(
        executor,
        stage("first", options={"map_on": "xs"}, **MAPPED),
        stage("second", options={"map_on": "xs"}, **MAPPED),
    )
    walk.run = walk.run.model_copy(update={"only": only})
    run = walk.begin()
    await executor.submitted("second")

    chosen = [call.only for call in executor.calls if isinstance(call, MapCall)]

    assert chosen == [only["first"], None]
    executor.end("first", "second")
    await run


async def test_it_waits_for_what_else_it_depends_on() -> None:
    executor = ByHand()
    walk = await a_walk(
        executor,
        stage("fetch", options={"map_on": "xs"}, **MAPPED),
        stage("model"),
        stage("predict", "fetch", "model", **MAPPED),
    )
    run = walk.begin()
    await executor.submitted("model")
    assert executor.names() == ["fetch", "model"]

    executor.end("model")

    predict = await executor.submitted("predict")
    assert isinstance(predict, MapCall)
    assert isinstance(predict.over, Handle)
    assert predict.args == ("model",)
    executor.end("fetch", "predict")
    await run


@pytest.mark.parametrize(
    "second",
    [
        stage("second", "first"),
        stage("second", "first", "first", **MAPPED),
        stage("second", "first", options={"map_on": "xs"}, **MAPPED),
    ],
    ids=["simple", "takes it whole too", "maps over the input"],
)
async def test_other_stages_wait_for_the_whole_list(second: dict[str, Any]) -> None:
    executor = ByHand()
    first = stage("first", options={"map_on": "xs"}, **MAPPED)
    walk = await a_walk(executor, first, stage("beside"), second)
    run = walk.begin()
    await executor.submitted("beside")
    executor.end("beside")
    assert executor.names() == ["first", "beside"]

    executor.end("first")

    call = await executor.submitted("second")
    over = call.over if isinstance(call, MapCall) else None
    assert not isinstance(over, Handle) or over.outcome.done()
    executor.end("second")
    await run


async def test_an_empty_map_on_maps_over_the_first_dependency() -> None:
    executor = ByHand()
    walk = await a_walk(
        executor, stage("list"), stage("each", "list", options={"map_on": ""}, **MAPPED)
    )
    run = walk.begin()
    await executor.submitted("list")

    executor.end("list")

    call = await executor.submitted("each")
    assert isinstance(call, MapCall)
    assert (call.over, call.args, call.map_on, call.takes_input) == ("list", (), None, False)
    executor.end("each")
    await run


async def test_a_call_says_all_that_an_executor_needs() -> None:
    executor = ByHand()
    options = {"map_on": "", "note": 1}
    resources = {"memory": "1kB", "threads": "5", "gpus": ""}
    walk = await a_walk(executor, stage("only", options=options, resources=resources))
    run = walk.begin()

    call = await executor.submitted("only")

    assert not isinstance(call, MapCall)
    assert (call.run, call.stage, call.target) == (walk.run.uid, "only", "farm.work")
    assert (call.type, call.code) == ("flowdapt_workers.targets:Simple", "c0de")
    assert call.options == options
    assert call.resources == {"memory": 1000, "threads": 5}
    assert (call.takes_input, call.final, call.mapped_on) == (True, True, False)
    assert call.context.run == walk.run
    executor.end("only")
    await run


# Secrets


class Sealing:
    """A keeper of secrets that notes which configs it was given."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    async def seal(self, config: dict[str, Any]) -> Sealed:
        self.given.append(config)
        return self

    def __call__(self) -> dict[str, Any]:
        return {"opened": True}

    def mask(self, text: str) -> str:
        return text


async def test_a_config_that_names_a_secret_is_sealed_before_anything_is_submitted() -> None:
    executor, keeper = ByHand(), Sealing()
    config = {"deep": [{"token": "Bearer $secret{TOKEN}"}]}
    walk = await a_walk(executor, stage("a"), config=config, seal=keeper.seal)
    run = walk.begin()

    call = await executor.submitted("a")
    executor.end("a")
    await run

    assert keeper.given == [config]
    assert call.context.config == {"opened": True}
    assert call.context.run.config == walk.run.config == config


async def test_a_config_without_secrets_is_nothing_to_a_keeper() -> None:
    executor, keeper = ByHand(), Sealing()
    walk = await a_walk(executor, stage("a"), config={"n": "$secrets"}, seal=keeper.seal)
    run = walk.begin()

    call = await executor.submitted("a")
    executor.end("a")
    await run

    assert keeper.given == []
    assert call.context.config == {"n": "$secrets"}


async def test_where_nobody_keeps_secrets_a_config_that_names_one_fails_the_run() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), config={"token": "$secret{TOKEN}"})

    with pytest.raises(StageError, match="names a secret, and no plugin here keeps secrets"):
        await walk.compute()

    assert executor.calls == []


# Failures


async def test_a_failing_stage_stops_its_siblings() -> None:
    interrupted = asyncio.Event()
    sibling_runs = asyncio.Event()

    async def sibling() -> None:
        sibling_runs.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.set()
            raise

    async def failing() -> None:
        await sibling_runs.wait()
        raise LookupError("no farm")

    walk = await a_walk(
        InlineExecutor(),
        stage("sibling", target=sibling),
        stage("failing", target=failing),
        stage("never", "failing", target=lambda _: 1),
    )

    with pytest.raises(StageFailed, match="stage 'failing' failed: LookupError: no farm"):
        await walk.compute()

    assert interrupted.is_set()
    states = {record.stage: record.state for record in walk.records.values()}
    assert states == {"sibling": RunState.CANCELLED, "failing": RunState.FAILED}
    stored = {r.stage: r for r in await walk.storage.list_stages(walk.run.uid)}
    assert stored["failing"].failure is not None
    assert stored["failing"].failure.message == "no farm"


async def test_the_executor_is_told_to_stop_the_rest() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b"))
    run = walk.begin()
    await executor.submitted("b")

    executor.fail("a", StageFailed(Failure(type="E", message="m", stage="a")))

    with pytest.raises(StageFailed, match="stage 'a' failed: E: m"):
        await run
    assert executor.cancelled == [walk.run.uid]


async def test_what_ended_is_on_record_though_a_sibling_fails_while_it_is_stored() -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStorage):
        async def save_stage(self, run: UUID, record: StageRecord, **facts: Any) -> None:
            if record.stage == "done":
                reached.set()
                await go.wait()
            await super().save_stage(run, record, **facts)

    executor = ByHand()
    walk = await a_walk(executor, stage("done"), stage("failing"), stage("c"), storage=Slow())
    run = walk.begin()
    await executor.submitted("failing")
    executor.end("done")
    await reached.wait()
    executor.fail("failing", NeverFits("failing", "cpus", 2, 1))
    with pytest.raises(NeverFits):
        await run

    go.set()
    await walk.settle()

    stored = {r.stage: r.state.value for r in await walk.storage.list_stages(walk.run.uid)}
    assert stored["done"] == "finished"


async def test_of_two_failures_the_first_counts_and_cancelled_siblings_do_not() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b"))
    run = walk.begin()
    await executor.submitted("b")

    executor.fail("a", RunCancelled())
    executor.fail("b", StageFailed(Failure(type="E", message="m", stage="b")))

    with pytest.raises(StageFailed, match="stage 'b' failed"):
        await run


async def test_what_does_not_fit_is_a_failure_of_its_stage() -> None:
    walk = await a_walk(InlineExecutor(), stage("big", resources={"cpus": 10_000}))

    with pytest.raises(NeverFits, match="stage 'big' asks for 10000 cpus, and the executor has"):
        await walk.compute()

    (record,) = walk.records.values()
    assert record.failure is not None
    assert (record.state, record.failure.type) == (RunState.FAILED, "NeverFits")


async def test_a_type_that_went_away_is_named_before_anything_is_submitted() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b", type="odd"))

    with pytest.raises(StageError, match="stage 'b' has the type 'odd', which no plugin offers"):
        await walk.compute()

    assert executor.calls == []


async def test_an_end_that_cannot_be_stored_stops_the_rest_and_says_why() -> None:
    class Full(MemoryStorage):
        async def save_stage(self, run: UUID, record: StageRecord, **facts: Any) -> None:
            raise StorageError("the disk is full")

    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b"), stage("c", "a"), storage=Full())
    run = walk.begin()
    await executor.submitted("b")

    executor.end("a")

    with pytest.raises(StorageError, match="the disk is full"):
        await run
    assert executor.cancelled == [walk.run.uid]
    assert executor.names() == ["a", "b"]


async def test_a_walk_that_is_cancelled_before_its_first_step_submits_nothing() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"))
    run = walk.begin()

    walk.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
    assert executor.calls == []


async def test_cancelling_what_has_ended_changes_nothing() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"))
    run = walk.begin()
    await executor.submitted("a")
    executor.end("a")
    await run

    walk.cancel()

    assert not run.cancelled()


# Records


async def test_a_completion_is_stored_before_it_is_told_and_before_a_successor_starts() -> None:
    steps: list[str] = []

    class Noting(MemoryStorage):
        async def save_stage(self, run: UUID, record: StageRecord, **facts: Any) -> None:
            await super().save_stage(run, record, **facts)
            steps.append(f"{record.stage} stored")

    told = Events()
    walk = await a_walk(
        InlineExecutor(),
        stage("a", target=lambda: steps.append("a computed")),
        stage("b", "a", target=lambda _: steps.append("b computed")),
        storage=Noting(),
        events=told,
    )

    with told.listening(lambda e: steps.append(f"{e.data['stage']} {e.data['state']}")):
        await walk.compute()
        walk.tell_last()

    assert steps == [
        *("a running", "a computed", "a stored", "a finished"),
        *("b running", "b computed"),  # the last one is stored with the run's end
        "b finished",
    ]


async def test_a_record_has_what_the_executor_knows() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a", options={"map_on": "xs"}, **MAPPED))
    run = walk.begin()
    await executor.submitted("a")
    failure = Failure(type="E", message="m", item=3)
    facts = {"attempts": 2, "worker": "w1", "cpu_seconds": 0.5, "stored": b"p", "result_bytes": 1}
    used = {"peak_memory_bytes": 7}

    executor.end("a", items=5, items_failed=1, failures=(failure,), used=used, **facts)
    await run

    record = walk.last
    assert record is not None
    assert (record.state, record.attempts, record.worker) == (RunState.FINISHED, 2, "w1")
    assert (record.items, record.items_done, record.items_failed) == (5, 5, 1)
    assert (record.failures, record.cpu_seconds, record.result) == ((failure,), 0.5, b"p")
    assert (record.result_bytes, record.used) == (1, used)
    assert record.finished_at is not None
    assert record.finished_at >= record.started_at


async def test_progress_is_on_record_until_the_stage_ends() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b"))
    run = walk.begin()
    await executor.submitted("b")
    progress = Progress(walk.run.uid, "a", worker="w1", items=9, items_done=4, items_failed=1)

    walk.on_progress(progress)
    walk.on_progress(replace(progress, stage="unknown"))
    walk.on_progress(Progress(walk.run.uid, "a", attempts=2))

    record = walk.records["a"]
    assert (record.worker, record.items, record.items_done, record.items_failed) == ("w1", 9, 4, 1)
    assert record.attempts == 2
    executor.end("a", "b")
    await run
    walk.on_progress(progress)
    assert walk.records["a"].state is RunState.FINISHED


async def test_each_attempt_is_on_record_with_when_and_where_it_began() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b", "a"))
    run = walk.begin()
    await executor.submitted("a")
    first, second = ({"at": f"t{n}", "worker": f"w{n}", "node": "mill"} for n in (1, 2))

    walk.on_progress(Progress(walk.run.uid, "a", worker="w1", began=first))
    walk.on_progress(Progress(walk.run.uid, "a", worker="w1"))
    walk.on_progress(Progress(walk.run.uid, "a", worker="w2", attempts=2, began=second))
    executor.end("a")
    await executor.submitted("b")

    (record,) = await walk.storage.list_stages(walk.run.uid)
    assert record.history == ({"attempt": 1, **first}, {"attempt": 2, **second})
    executor.end("b")
    await run


# Events


async def kept(walk: Walk) -> list[dict[str, Any]]:
    """Return the events of a run that are kept."""
    page = await walk.storage.read_events(EventQuery(run=walk.run.uid))
    return [json.loads(text) for text in page.entries.values()]


async def test_the_end_of_a_stage_is_kept_and_how_it_moves_on_is_only_told() -> None:
    executor, told = ByHand(), Events()
    heard: list[Event] = []
    walk = await a_walk(executor, stage("a"), stage("b", "a"), events=told)

    with told.listening(heard.append):
        run = walk.begin()
        await executor.submitted("a")
        walk.on_progress(Progress(walk.run.uid, "a", worker="w1"))
        executor.end("a", stored=b"p")
        await executor.submitted("b")
        (event,) = await kept(walk)
        executor.end("b")
        await run

    assert (event["type"], event["channel"]) == (STAGE_CHANGED, "workflows")
    facts = {"run": str(walk.run.uid), "workflow": "farm", "stage": "a", "state": "finished"}
    assert event["data"].items() >= facts.items()
    assert "result" not in event["data"]
    moves = [(e.data["stage"], e.data["state"], e.data["worker"], e.kept) for e in heard]
    assert moves == [
        ("a", "running", None, False),
        ("a", "running", "w1", False),
        ("a", "finished", None, True),
        ("b", "running", None, False),
    ]
    assert str(heard[2].id) == event["id"]


async def test_the_end_of_the_last_stage_waits_to_be_kept_with_the_end_of_the_run() -> None:
    executor, told = ByHand(), Events()
    heard: list[Event] = []
    walk = await a_walk(executor, stage("a"), events=told)

    with told.listening(heard.append):
        run = walk.begin()
        await executor.submitted("a")
        executor.end("a")
        await run
        before, stored = list(heard), await kept(walk)
        walk.tell_last()

    assert (before, stored) == (heard[:-1], [])
    assert heard[-1] is walk.last_told[0]
    assert (heard[-1].data["state"], heard[-1].kept) == (RunState.FINISHED, True)


async def test_failed_and_cancelled_stages_are_kept_as_such() -> None:
    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b"))
    run = walk.begin()
    await executor.submitted("b")

    executor.fail("a", StageFailed(Failure(type="E", message="m", stage="a")))
    with pytest.raises(StageFailed):
        await run

    ends = {event["data"]["stage"]: event["data"] for event in await kept(walk)}
    assert {name: data["state"] for name, data in ends.items()} == {"a": "failed", "b": "cancelled"}
    assert ends["a"]["failure"]["message"] == "m"
    assert walk.last_told == ()


async def test_how_stages_move_on_is_not_put_together_for_nobody() -> None:
    class Silent(Events):
        def publish(self, event: Event) -> None:
            assert event.kept

    executor = ByHand()
    walk = await a_walk(executor, stage("a"), stage("b", "a"), events=Silent())
    run = walk.begin()
    await executor.submitted("a")

    walk.on_progress(Progress(walk.run.uid, "a", worker="w1"))
    executor.end("a")
    await executor.submitted("b")
    executor.end("b")

    await run


# Logs


def a_block(text: str) -> LogBlock:
    """Return one line of a log."""
    line = json.dumps({"stream": "stdout", "message": text}).encode() + b"\n"
    return LogBlock("a", line, 1)


async def test_lines_are_stored_in_order_up_to_the_limit_and_it_says_so() -> None:
    walk = await a_walk(ByHand(), stage("a"), log_limit=100)

    for i in range(10):
        walk.on_log(a_block(f"line {i}"))
    await walk.settle()

    log = await walk.storage.read_log(walk.run.uid)
    lines = [json.loads(line) for block in log.values() for line in block.lines.splitlines()]
    assert [line["message"] for line in lines] == [
        "line 0",
        "line 1",
        "line 2",
        "the log of this run is full (logging.run_limit); what follows is dropped",
    ]
    assert sum(block.count for block in log.values()) == len(lines)
    assert (lines[-1]["stream"], lines[-1]["level"]) == ("flowdapt", "WARNING")


async def test_lines_that_cannot_be_stored_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    walk = await a_walk(ByHand(), stage("a"))
    await walk.storage.delete_run(walk.run.uid)

    walk.on_log(a_block("lost"))
    await walk.settle()

    assert f"lines of run {walk.run.name} could not be stored" in caplog.text


async def test_a_run_as_it_stands_has_the_size_of_its_result() -> None:
    walk = await a_walk(ByHand(), stage("a"))

    assert walk.seen().result is None
    assert walk.seen(memoryview(b"[1]")).result == b"[1]"
    assert walk.seen(b"[1]").result_bytes == 3
    assert walk.seen().run.uid != uuid4()
