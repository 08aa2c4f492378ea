"""The walk: apply, store, run, publish."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_policies.targets import Targets
from flowdapt_workers.inline import InlineExecutor
from flowdapt_workers.targets import built_in_types

from flowdapt import engine as engine_module
from flowdapt import events
from flowdapt.catalog import identifier
from flowdapt.context import get_run_context
from flowdapt.engine import Engine
from flowdapt.errors import (
    Draining,
    InvalidInput,
    InvalidResource,
    ResourceChanged,
    ResourceExists,
    ResourceNotFound,
    StorageError,
)
from flowdapt.events import Event
from flowdapt.executors import Host
from flowdapt.resources import Config, Workflow, now
from flowdapt.runs import Failure, Run, RunState, StageRecord
from flowdapt.storage import Document, EventQuery, LogBlock, RunQuery, StoredRun

pytestmark = pytest.mark.anyio

MakeEngine = Callable[..., Any]


# Functions that workflows of these tests name


def double(n: int) -> int:
    """Return twice as much."""
    return 2 * n


def fail() -> None:
    """Raise."""
    raise LookupError("no such farm")


def setting() -> Any:
    """Return what the configs of the run say."""
    return get_run_context().config


async def pause(reached: asyncio.Event, go: asyncio.Event) -> str:
    """Say that the stage runs, and wait until it may end."""
    reached.set()
    await go.wait()
    return "done"


def a_workflow(name: str = "farm", target: str = "double", **facts: Any) -> dict[str, Any]:
    """Return a workflow of one stage, whose function is in this module or elsewhere."""
    stage = {"name": "only", "target": target if "." in target else f"{__name__}.{target}"}
    metadata = {"name": name, **facts.pop("metadata", {})}
    return {"kind": "workflow", "metadata": metadata, "spec": {"stages": [{**stage, **facts}]}}


def a_config(name: str, data: Mapping[str, Any], **selector: Any) -> dict[str, Any]:
    """Return a config."""
    spec = {"data": data, "selector": selector or None}
    return {"kind": "config", "metadata": {"name": name}, "spec": spec}


class Pausing:
    """The input of a run whose stage ends when the test says so."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    @property
    def input(self) -> dict[str, Any]:
        """What the run is given."""
        return {"reached": self.reached, "go": self.go}


@pytest.fixture
def storage() -> MemoryStorage:
    """Where the engine of a test keeps things."""
    return MemoryStorage()


@pytest.fixture
async def make_engine(tmp_path: Path, storage: MemoryStorage) -> AsyncIterator[MakeEngine]:
    """Make engines that are started, and stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def make(**facts: Any) -> Engine:
            parts = {"storage": storage, "executor": InlineExecutor(), **facts}
            engine = Engine(
                parts.pop("storage"),
                parts.pop("executor"),
                Host(app_dir=tmp_path),
                types=built_in_types(),
                **parts,
            )
            engine.policies.append(Targets(engine))
            await engine.start()
            stack.push_async_callback(engine.stop)
            return engine

        yield make


class SlowToAccept(MemoryStorage):
    """A storage that has stored a run, and is let to say so later."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def add_run(self, run: Run, **facts: Any) -> None:
        await super().add_run(run, **facts)
        self.reached.set()
        await self.go.wait()


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    """An engine with a workflow ``farm`` that doubles ``n``, and one ``pause`` that waits."""
    engine: Engine = await make_engine()
    await engine.create(Workflow, a_workflow())
    await engine.create(Workflow, a_workflow("pause", "pause"))
    return engine


async def paused(engine: Engine) -> tuple[Run, Pausing]:
    """Return a run that waits in its stage."""
    pausing = Pausing()
    run = await engine.submit("pause", pausing.input)
    await asyncio.wait_for(pausing.reached.wait(), 5)
    return run, pausing


async def result(engine: Engine, name: str = "farm", **values: Any) -> Any:
    """Run a workflow to its end, and return the result."""
    stored = await engine.wait((await engine.submit(name, values)).uid)
    return json.loads(stored.result or b"")


# Applying


async def test_applying_creates_changes_and_leaves_alone(engine: Engine) -> None:
    data = a_workflow("new")

    verdicts = [(await engine.apply(data))[1] for _ in range(2)]
    data["spec"]["stages"][0]["description"] = "other"
    changed, verdict = await engine.apply(data)

    assert [*verdicts, verdict] == ["created", "unchanged", "changed"]
    assert changed.metadata.generation == 2
    assert await engine.get(Workflow, "new") == changed


async def test_two_may_apply_the_same_at_once(engine: Engine) -> None:
    both = await asyncio.gather(*(engine.apply(a_workflow("new")) for _ in range(2)))

    assert sorted(verdict for _, verdict in both) == ["created", "unchanged"]


async def test_other_annotations_are_a_change_and_those_of_the_server_are_not(
    engine: Engine, storage: MemoryStorage
) -> None:
    ours = {"flowdapt.ai/last_run": "today"}
    await engine.replace(Workflow, "farm", a_workflow(metadata={"annotations": {**ours, "a": "1"}}))

    same = await engine.apply(a_workflow(metadata={"annotations": {"a": "1"}}))
    other = await engine.apply(a_workflow(metadata={"annotations": {"b": "2"}}))

    assert same[1] == "unchanged"
    assert other[1] == "changed"
    assert other[0].metadata.annotations == {**ours, "b": "2"}


async def test_what_a_resource_is_applied_to_is_its_kind_and_name(engine: Engine) -> None:
    _, verdict = await engine.apply(a_config("farm", {"a": 1}))

    assert verdict == "created"
    assert isinstance(await engine.get(Workflow, "farm"), Workflow)
    assert isinstance(await engine.get(Config, "farm"), Config)


@pytest.mark.parametrize("kind", ["workflw", None])
async def test_an_unknown_kind_is_refused_with_those_that_there_are(
    engine: Engine, kind: Any
) -> None:
    with pytest.raises(InvalidResource) as caught:
        await engine.apply({**a_workflow(), "kind": kind})

    assert str(caught.value) == (
        f"resource: kind: {str(kind)!r} is no kind of resource; there are 'workflow', 'config'"
    )


async def test_unknown_fields_are_refused_when_applied_and_dropped_when_created(
    engine: Engine,
) -> None:
    data = a_workflow("new", retry=3)

    with pytest.raises(InvalidResource, match=r"farm\.yaml: spec\.stages\.0\.retry: unknown field"):
        await engine.apply(data, where="farm.yaml")
    created = await engine.create(Workflow, data)

    assert "retry" not in created.model_dump()["spec"]["stages"][0]


# Creating, replacing, deleting


async def test_identity_and_times_are_given_here_and_not_by_clients(engine: Engine) -> None:
    begun = now()
    given = {
        "uid": str(uuid4()),
        "created_at": "2001-01-01T00:00:00",
        "updated_at": "2001-01-01T00:00:00",
        "generation": 99,
    }

    created = await engine.create(Workflow, a_workflow("new", metadata=given))

    metadata = created.metadata
    assert str(metadata.uid) != given["uid"]
    assert begun <= metadata.created_at == metadata.updated_at <= now()
    assert metadata.generation == 1


async def test_a_name_that_is_taken_is_refused(engine: Engine) -> None:
    with pytest.raises(ResourceExists, match="a workflow with name 'farm' already exists"):
        await engine.create(Workflow, a_workflow())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([1], "request body: document: Input should be a valid dictionary"),
        ({"metadata": {"name": "new"}}, "request body: spec: Field required"),
        (a_workflow("a b"), "request body: metadata.name: String should match pattern"),
        (
            a_workflow("new", depends_on=["x"]),
            "request body: spec: stage 'only' depends on 'x', which is no stage",
        ),
        (
            a_workflow("new", "duble"),
            f"request body: spec.stages.0.target: target '{__name__}.duble' cannot be imported: "
            f"module '{__name__}' has no 'duble' (did you mean 'double'?)",
        ),
        (
            a_workflow("new", "math.pi"),
            "request body: spec.stages.0.target: target 'math.pi' cannot be imported: "
            "it is a float, not a function",
        ),
        (
            a_workflow("new", type="odd"),
            "request body: spec.stages.0.type: 'odd' is no stage type; "
            "there are 'simple', 'parameterized'",
        ),
    ],
)
async def test_what_is_not_sound_is_refused_and_nothing_is_stored(
    engine: Engine, data: Any, said: str
) -> None:
    before = await engine.list(Workflow)

    with pytest.raises(InvalidResource) as created:
        await engine.create(Workflow, data)
    with pytest.raises(InvalidResource) as replaced:
        await engine.replace(Workflow, "farm", data)

    assert str(created.value).startswith(said)
    assert str(replaced.value) == str(created.value)
    assert await engine.list(Workflow) == before


async def test_a_target_whose_module_is_missing_may_come_later(engine: Engine) -> None:
    created = await engine.create(Workflow, a_workflow("new", "no_such_module.load"))

    failed = await engine.wait((await engine.submit("new")).uid)

    assert created.spec.stages[0].target == "no_such_module.load"
    assert json.loads(failed.result or b"") == [
        "TargetNotFound",
        "target 'no_such_module.load' cannot be imported: there is no module 'no_such_module'",
    ]


@pytest.mark.parametrize("deep", [True, False], ids=["lists in lists", "a function"])
async def test_what_cannot_be_kept_as_json_is_refused(engine: Engine, *, deep: bool) -> None:
    value: Any = "core"
    for _ in range(1000):
        value = [value]
    data = a_workflow("new", options={"x": value if deep else print})

    with pytest.raises(InvalidResource, match="request body: document: cannot be stored as JSON"):
        await engine.create(Workflow, data)

    assert [workflow.name for workflow in await engine.list(Workflow)] == ["farm", "pause"]


async def test_a_replaced_resource_keeps_its_identity(engine: Engine) -> None:
    old = (await engine.get(Workflow, "farm")).metadata

    replaced = await engine.replace(Workflow, "farm", a_workflow(version="2"), expected=1)

    new = replaced.metadata
    assert (new.uid, new.created_at, new.generation) == (old.uid, old.created_at, 2)
    assert new.updated_at >= old.updated_at
    assert replaced.spec.stages[0].version == "2"


async def test_a_resource_may_be_renamed_and_its_old_name_is_free(engine: Engine) -> None:
    uid = (await engine.get(Workflow, "farm")).metadata.uid

    await engine.replace(Workflow, "farm", a_workflow("barn"))

    assert (await engine.get(Workflow, "barn")).metadata.uid == uid
    with pytest.raises(ResourceNotFound, match="no workflow named 'farm'"):
        await engine.get(Workflow, "farm")
    await engine.create(Workflow, a_workflow("farm"))


async def test_a_rename_onto_a_taken_name_is_refused_and_changes_nothing(engine: Engine) -> None:
    before = await engine.list(Workflow)

    with pytest.raises(ResourceExists, match="a workflow with name 'pause' already exists"):
        await engine.replace(Workflow, "farm", a_workflow("pause"))

    assert await engine.list(Workflow) == before


async def test_a_resource_that_was_changed_meanwhile_is_not_replaced(engine: Engine) -> None:
    await engine.replace(Workflow, "farm", a_workflow(version="theirs"))

    with pytest.raises(ResourceChanged, match="generation 2, not 1"):
        await engine.replace(Workflow, "farm", a_workflow(version="ours"), expected=1)

    assert (await engine.get(Workflow, "farm")).spec.stages[0].version == "theirs"


async def test_what_is_missing_cannot_be_replaced_or_deleted(engine: Engine) -> None:
    with pytest.raises(ResourceNotFound, match="no config named 'absent'"):
        await engine.replace(Config, "absent", a_config("absent", {}))
    with pytest.raises(ResourceNotFound, match="no config named 'absent'"):
        await engine.delete(Config, "absent")


async def test_a_deleted_resource_is_returned_and_gone(engine: Engine) -> None:
    deleted = await engine.delete(Workflow, "farm")

    assert deleted.name == "farm"
    assert [workflow.name for workflow in await engine.list(Workflow)] == ["pause"]


async def test_a_resource_is_found_by_name_and_by_uid_however_it_is_written(
    engine: Engine,
) -> None:
    farm = await engine.get(Workflow, "farm")
    uid = farm.metadata.uid

    for name in (uid, str(uid), str(uid).upper(), uid.hex):
        assert await engine.get(Workflow, name) == farm


A_UID = "0b7e6d8a-4f0c-4c53-9a55-0d1c3f6f5a10"


@pytest.mark.parametrize("text", ["", "farm", "12345678", "1" * 31, f"{{{A_UID}}}", f"{A_UID} "])
def test_text_that_is_no_uid_is_a_name(text: str) -> None:
    assert identifier(text) == text


async def test_resources_are_listed_in_the_order_of_their_creation(engine: Engine) -> None:
    await engine.create(Workflow, a_workflow("a"))

    await engine.replace(Workflow, "farm", a_workflow("z"))

    assert [workflow.name for workflow in await engine.list(Workflow)] == ["z", "pause", "a"]


async def test_a_change_while_resources_are_read_is_not_missed(make_engine: MakeEngine) -> None:
    class Slow(MemoryStorage):
        asked, go = asyncio.Event(), asyncio.Event()

        async def list(self, kind: str) -> Sequence[Document]:
            documents = await super().list(kind)
            self.asked.set()
            await self.go.wait()
            return documents

    storage = Slow()
    engine = await make_engine(storage=storage)
    reading = asyncio.ensure_future(engine.list(Workflow))
    await storage.asked.wait()

    await engine.create(Workflow, a_workflow("new"))
    storage.go.set()

    assert await reading == []
    assert [workflow.name for workflow in await engine.list(Workflow)] == ["new"]


# Runs


async def test_a_run_is_stored_before_it_is_acknowledged(
    engine: Engine, storage: MemoryStorage
) -> None:
    run = await engine.submit("farm", {"n": 4}, namespace="mine")

    stored = (await storage.get_run(run.uid)).run
    assert stored == run
    assert (stored.state, stored.input) == (RunState.RUNNING, {"n": 4})
    assert (stored.source, stored.namespace, stored.workflow) == ("api", "mine", "farm")
    await engine.wait(run.uid)


async def test_a_run_ends_with_the_result_of_its_last_stage(
    engine: Engine, storage: MemoryStorage
) -> None:
    run = await engine.submit("farm", {"n": 4})

    ended = await engine.wait(run.uid)

    assert (ended.run.state, ended.result) == (RunState.FINISHED, b"8")
    assert ended == await storage.get_run(run.uid) == await engine.get_run(run.name)
    assert ended.run.finished_at is not None


async def test_a_failing_stage_gives_class_and_message_and_is_named(engine: Engine) -> None:
    await engine.create(Workflow, a_workflow("broken", "fail"))

    ended = await engine.wait((await engine.submit("broken")).uid)

    assert ended.run.state is RunState.FAILED
    assert json.loads(ended.result or b"") == ["LookupError", "no such farm"]
    assert ended.run.failure is not None
    assert ended.run.failure.stage == "only"
    assert 'raise LookupError("no such farm")' in ended.run.failure.traceback


async def test_a_missing_argument_is_a_value_error_of_its_stage(engine: Engine) -> None:
    kind, message = await result(engine, m=4)

    assert kind == "ValueError"
    assert message == f"{__name__}.double needs 'n', which is not given; given is 'm'"


async def test_no_input_is_an_empty_one(engine: Engine) -> None:
    await engine.create(Workflow, a_workflow("settings", "setting"))

    run = await engine.submit("settings")

    assert run.input == {}
    await engine.wait(run.uid)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1], "input must be an object of named values, not a list"),
        ("n=4", "input must be an object of named values, not a str"),
        (0, "input must be an object of named values, not a int"),
        ([], "input must be an object of named values, not a list"),
        ({1: 2}, "input must be an object of named values, and the name 1 is no text"),
    ],
)
async def test_an_input_that_is_no_object_is_refused_and_no_run_is_stored(
    engine: Engine, given: Any, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await engine.submit("farm", given)

    assert str(caught.value) == said
    assert await engine.list_runs(RunQuery()) == []


async def test_a_run_of_what_is_missing_is_refused(engine: Engine) -> None:
    with pytest.raises(ResourceNotFound, match="no workflow named 'absent'"):
        await engine.submit("absent")


async def test_a_run_by_uid_has_the_name_of_the_workflow_and_keeps_it(engine: Engine) -> None:
    uid = (await engine.get(Workflow, "farm")).metadata.uid
    run = await engine.submit(uid, {"n": 1})

    await engine.replace(Workflow, uid, a_workflow("barn"))

    assert (await engine.wait(run.uid)).run.workflow == "farm"


async def test_a_run_goes_on_with_the_workflow_it_began_with(engine: Engine) -> None:
    run, pausing = await paused(engine)
    await engine.delete(Workflow, "pause")

    pausing.go.set()

    assert (await engine.wait(run.uid)).result == b'"done"'


async def test_runs_are_listed_newest_first(engine: Engine) -> None:
    runs = [await engine.submit("farm", {"n": i}) for i in range(3)]
    for run in runs:
        await engine.wait(run.uid)

    listed = await engine.list_runs(RunQuery(workflow="farm", limit=2))

    assert [stored.run.uid for stored in listed] == [runs[2].uid, runs[1].uid]


async def test_edits_of_configs_count_for_the_next_run(engine: Engine) -> None:
    await engine.create(Workflow, a_workflow("settings", "setting"))
    await engine.create(Config, a_config("c", {"depth": 1}, value="settings"))
    results = [await result(engine, "settings")]

    await engine.replace(Config, "c", a_config("c", {"depth": 2}, value="settings"))
    results.append(await result(engine, "settings"))
    await engine.delete(Config, "c")
    results.append(await result(engine, "settings"))

    assert results == [{"depth": 1}, {"depth": 2}, {}]


async def test_the_config_of_a_run_is_on_record(engine: Engine) -> None:
    await engine.create(Config, a_config("c", {"depth": 1}, value="farm"))

    run = await engine.submit("farm", {"n": 1})

    assert (await engine.wait(run.uid)).run.config == {"depth": 1}


async def test_stages_are_seen_while_they_run_and_afterwards(engine: Engine) -> None:
    run, pausing = await paused(engine)

    during = await engine.stages(run.uid)
    pausing.go.set()
    await engine.wait(run.uid)
    afterwards = await engine.stages(run.uid)

    assert [(record.stage, record.state) for record in during] == [("only", RunState.RUNNING)]
    assert [(record.stage, record.state) for record in afterwards] == [("only", RunState.FINISHED)]


async def test_stages_and_lines_of_a_missing_run_are_refused(engine: Engine) -> None:
    absent = uuid4()

    with pytest.raises(ResourceNotFound, match=f"no workflow_run named '{absent}'"):
        await engine.stages(absent)


async def test_lines_that_a_run_wrote_are_read_back(engine: Engine) -> None:
    run, pausing = await paused(engine)
    block = LogBlock("only", b'{"message": "hello"}\n', 1)

    engine.executor.host.on_log(run.uid, block)  # type: ignore[attr-defined]  # of the inline one
    pausing.go.set()
    await engine.wait(run.uid)

    assert await engine.read_log(run.uid) == {1: block}


async def test_a_wait_that_is_given_up_does_not_stop_the_run(engine: Engine) -> None:
    run, pausing = await paused(engine)
    wait = asyncio.ensure_future(engine.wait(run.uid))
    await asyncio.sleep(0)

    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)
    pausing.go.set()

    assert (await engine.wait(run.uid)).run.state is RunState.FINISHED


async def test_a_run_that_has_ended_need_not_be_waited_for(engine: Engine) -> None:
    run = await engine.submit("farm", {"n": 4})
    first = await engine.wait(run.uid)

    assert await engine.wait(run.uid) == first


# Events


async def test_a_run_is_told_of_when_it_began_and_when_it_ended(engine: Engine) -> None:
    heard: list[Event] = []

    with engine.events.listening(heard.append):
        run = await engine.submit("farm", {"n": 4})
        await engine.wait(run.uid)

    first, *_, last = heard
    assert (first.type, last.type) == (events.RUN_STARTED, events.RUN_FINISHED)
    assert (first.channel, first.source) == ("workflows", "compute")
    assert isinstance(first.data, StoredRun)
    assert isinstance(last.data, StoredRun)
    assert (first.data.run.state, first.data.result) == (RunState.RUNNING, None)
    assert (last.data.run.state, last.data.result) == (RunState.FINISHED, b"8")
    changes = [event.data for event in heard if event.type == events.STAGE_CHANGED]
    assert all(data["run"] == run.uid and data["stage"] == "only" for data in changes)
    assert (changes[0]["state"], changes[-1]["state"]) == ("running", "finished")


async def test_whatever_is_told_of_was_stored_before(make_engine: MakeEngine) -> None:
    steps: list[tuple[str, str]] = []

    class Noting(MemoryStorage):
        async def add_run(self, run: Run, **facts: Any) -> None:
            await super().add_run(run, **facts)
            steps.append(("stored", run.state))

        async def save_run(self, run: Run, **facts: Any) -> None:
            await super().save_run(run, **facts)
            steps.append(("stored", f"stage {facts['last'].state}"))  # the last one, with the run
            steps.append(("stored", run.state))

        async def save_stage(self, run: UUID, record: StageRecord, **facts: Any) -> None:
            await super().save_stage(run, record, **facts)
            steps.append(("stored", f"stage {record.state}"))

    def note(event: Event) -> None:
        if event.type == events.STAGE_CHANGED:
            steps.append(("told", f"stage {event.data['state']}"))
        else:
            steps.append(("told", event.data.run.state))

    engine = await make_engine(storage=Noting())
    await engine.create(Workflow, a_workflow())

    with engine.events.listening(note):
        await engine.wait((await engine.submit("farm", {"n": 4})).uid)

    assert list(dict.fromkeys(steps)) == [
        ("stored", "running"),
        ("told", "running"),
        ("told", "stage running"),
        ("stored", "stage finished"),
        ("stored", "finished"),
        ("told", "stage finished"),
        ("told", "finished"),
    ]


async def kept(storage: MemoryStorage, run: Run) -> list[dict[str, Any]]:
    """Return the events of a run that are kept."""
    page = await storage.read_events(EventQuery(run=run.uid))
    return [json.loads(text) for text in page.entries.values()]


async def test_what_is_kept_of_a_run_is_its_begin_its_stages_and_its_end(
    engine: Engine, storage: MemoryStorage
) -> None:
    run = await engine.submit("farm", {"n": 4})
    await engine.wait(run.uid)

    began, stage, ended = await kept(storage, run)

    types = [began["type"], stage["type"], ended["type"]]
    assert types == [events.RUN_STARTED, events.STAGE_CHANGED, events.RUN_FINISHED]
    assert (began["data"]["state"], stage["data"]["state"]) == ("running", "finished")
    assert (ended["data"]["state"], ended["data"]["result"]) == ("finished", 8)
    assert {"input", "config"} & {*began["data"], *ended["data"]} == set()
    assert began["subject"] == f"workflow_run/{run.uid}"


@pytest.mark.parametrize("ends", [True, False], ids=["finished", "refused"])
async def test_the_last_stages_end_is_kept_with_the_runs_or_not_at_all(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_SECONDS", 0)
    storage = Failing(0 if ends else 1_000_000)
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow())

    run = await engine.submit("farm", {"n": 4})
    await (engine.wait(run.uid) if ends else storage.refused.wait())

    told = [event["type"] for event in await kept(storage, run)]
    whole = [events.RUN_STARTED, events.STAGE_CHANGED, events.RUN_FINISHED]
    assert told == (whole if ends else whole[:1])
    assert len(await storage.list_stages(run.uid)) == ends


async def test_an_end_that_was_stored_at_the_second_try_is_told_as_it_was_stored(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_SECONDS", 0)
    storage, heard = Failing(1), list[Event]()
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow())

    with engine.events.listening(heard.append, events.RUN_FINISHED):
        run = await engine.submit("farm", {"n": 4})
        await engine.wait(run.uid)

    (event,) = heard
    last = (await kept(storage, run))[-1]
    assert (str(event.id), event.data.run.state) == (last["id"], RunState.FAILED)
    assert last["data"]["failure"]["type"] == "StorageError"


async def test_whoever_asked_for_a_run_is_named_where_it_begins(
    engine: Engine, storage: MemoryStorage
) -> None:
    run = await engine.submit("farm", {"n": 4}, by="ann")
    await engine.wait(run.uid)
    again = await engine.submit("farm", {"n": 4}, by="bob")
    await engine.wait(again.uid)

    headers = [[event["headers"] for event in await kept(storage, r)] for r in (run, again)]

    assert headers == [[{"actor": "ann"}, {}, {}], [{"actor": "bob"}, {}, {}]]


async def test_what_is_told_with_a_run_is_stored_with_it_or_not_at_all(
    engine: Engine, storage: MemoryStorage
) -> None:
    heard, uid = list[Event](), uuid4()

    with engine.events.listening(heard.append, "fired"):
        for key in "ab":
            told = [Event(type="fired", data=key, channel="triggers")]
            with suppress(ResourceExists):
                run = await engine.submit("farm", {"n": 4}, uid=uid, told=told)
        await engine.wait(run.uid)

    page = await storage.read_events(EventQuery(channels=["triggers"]))
    assert [json.loads(text)["data"] for text in page.entries.values()] == ["a"]
    assert [event.data for event in heard] == ["a"]


async def test_of_equal_starts_another_one_begins_where_the_first_cannot_be_stored(
    make_engine: MakeEngine,
) -> None:
    class Full(MemoryStorage):
        refused = 0

        async def add_run(self, run: Run, **facts: Any) -> None:
            await asyncio.sleep(0)  # the others come meanwhile
            if not self.refused:
                self.refused += 1
                raise StorageError("the disk is full")
            await super().add_run(run, **facts)

    storage, uid = Full(), uuid4()
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow())

    starts = (engine.submit("farm", {"n": 4}, uid=uid) for _ in range(4))
    answers = await asyncio.gather(*starts, return_exceptions=True)

    assert [type(answer) for answer in answers] == [StorageError, Run, *2 * [ResourceExists]]
    assert (await engine.wait(uid)).result == b"8"


async def test_the_end_of_a_run_that_was_left_behind_is_kept(
    make_engine: MakeEngine, storage: MemoryStorage
) -> None:
    run = Run(workflow="farm").to(RunState.RUNNING)
    await storage.add_run(run)

    await make_engine()

    (event,) = await kept(storage, run)
    assert (event["type"], event["data"]["state"]) == (events.RUN_FINISHED, "failed")
    assert event["data"]["failure"]["type"] == "ServerStopped"
    assert event["data"]["result"][0] == "ServerStopped"


async def test_what_happened_is_known_of_runs_that_are_not_kept(
    make_engine: MakeEngine, storage: MemoryStorage
) -> None:
    engine = await make_engine(keep_runs=False)
    await engine.create(Workflow, a_workflow())

    run = await engine.submit("farm", {"n": 4})
    await engine.wait(run.uid)

    assert len(await kept(storage, run)) == 3


async def test_a_failed_and_a_cancelled_run_are_told_of_too(engine: Engine) -> None:
    heard: list[Event] = []
    await engine.create(Workflow, a_workflow("broken", "fail"))

    with engine.events.listening(heard.append):
        await engine.wait((await engine.submit("broken")).uid)
        run, _ = await paused(engine)
        await engine.cancel(run.uid)

    ends = [event.data.run.state for event in heard if event.type == events.RUN_FINISHED]
    assert ends == [RunState.FAILED, RunState.CANCELLED]


async def test_a_listener_that_raises_harms_no_run(engine: Engine) -> None:
    def broken(_: Event) -> None:
        raise LookupError("of the listener")

    with engine.events.listening(broken):
        assert await result(engine, n=4) == 8


# Cancelling and deleting


async def test_a_cancelled_run_stops_and_says_so(engine: Engine, storage: MemoryStorage) -> None:
    run, _ = await paused(engine)

    ended = await engine.cancel(run.name)

    assert ended.run.state is RunState.CANCELLED
    assert json.loads(ended.result or b"") == ["RunCancelled", "the run was cancelled"]
    assert await storage.get_run(run.uid) == ended
    (record,) = await engine.stages(run.uid)
    assert record.state is RunState.CANCELLED


async def test_a_run_may_be_cancelled_before_its_first_step(engine: Engine) -> None:
    run = await engine.submit("pause", Pausing().input)

    ended = await engine.cancel(run.uid)

    assert ended.run.state is RunState.CANCELLED
    assert (await engine.wait(run.uid)).run.state is RunState.CANCELLED


async def test_many_may_cancel_a_run_at_once(engine: Engine) -> None:
    run, _ = await paused(engine)

    answers = await asyncio.gather(*(engine.cancel(run.uid) for _ in range(5)))

    assert {answer.run.state for answer in answers} == {RunState.CANCELLED}


class Gated(MemoryStorage):
    """A storage that takes its time to store how a run ended."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def save_run(self, run: Run, **facts: Any) -> None:
        self.asked.set()
        await self.go.wait()
        await super().save_run(run, **facts)


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_what_has_ended_is_stored_as_it_ended_whoever_interrupts(
    make_engine: MakeEngine, how: str
) -> None:
    storage = Gated()
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow())
    run = await engine.submit("farm", {"n": 4})
    await storage.asked.wait()

    late = asyncio.ensure_future(engine.cancel(run.uid) if how == "cancel" else engine.stop())
    await asyncio.sleep(0)
    storage.go.set()
    await late

    stored = await engine.get_run(run.uid)
    assert (stored.run.state, stored.result) == (RunState.FINISHED, b"8")


async def test_a_run_that_has_ended_stays_as_it_is(engine: Engine) -> None:
    run = await engine.submit("farm", {"n": 4})
    ended = await engine.wait(run.uid)

    assert await engine.cancel(run.uid) == ended


async def test_a_run_that_is_missing_cannot_be_cancelled(engine: Engine) -> None:
    with pytest.raises(ResourceNotFound, match="no workflow_run named 'absent'"):
        await engine.cancel("absent")


async def test_a_run_in_progress_is_cancelled_before_it_is_deleted(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = await paused(engine)

    deleted = await engine.delete_run(run.name)

    assert deleted.run.state is RunState.CANCELLED
    with pytest.raises(ResourceNotFound):
        await engine.get_run(run.uid)
    assert caplog.records == []


async def test_a_run_that_somebody_else_deleted_ends_without_a_fault(
    engine: Engine, storage: MemoryStorage
) -> None:
    run, pausing = await paused(engine)
    waiting = asyncio.ensure_future(engine.wait(run.uid))
    await asyncio.sleep(0)

    await storage.delete_run(run.uid)
    pausing.go.set()

    assert (await waiting).run.state in (RunState.FINISHED, RunState.FAILED)


async def test_stopping_leaves_what_runs_to_the_next_server(
    make_engine: MakeEngine, storage: MemoryStorage
) -> None:
    engine = await make_engine()
    await engine.create(Workflow, a_workflow("pause", "pause"))
    run, pausing = await paused(engine)
    waiting = asyncio.ensure_future(engine.wait(run.uid))
    await asyncio.sleep(0)

    await engine.stop()

    with pytest.raises(Draining):
        await waiting
    assert (await storage.get_run(run.uid)).run.state is RunState.RUNNING
    assert await storage.list_stages(run.uid) == []
    pausing.go.set()
    ended = await (await make_engine()).wait(run.uid)
    assert (ended.run.state, ended.run.resumed, ended.result) == (RunState.FINISHED, 1, b'"done"')
    told = [event["type"] for event in await kept(storage, run)]
    assert told[:2] == [events.RUN_STARTED, events.RUN_RESUMED]


async def test_what_a_user_cancelled_ends_so_even_if_the_server_stops(
    make_engine: MakeEngine, storage: MemoryStorage
) -> None:
    engine = await make_engine()
    await engine.create(Workflow, a_workflow("pause", "pause"))
    run, _ = await paused(engine)

    cancelling = asyncio.ensure_future(engine.cancel(run.uid))
    await asyncio.sleep(0)
    await engine.stop()

    assert (await cancelling).run.state is RunState.CANCELLED
    assert (await storage.get_run(run.uid)).run.state is RunState.CANCELLED


async def test_stopping_ends_what_is_not_to_be_resumed_and_says_why(
    make_engine: MakeEngine, storage: MemoryStorage
) -> None:
    engine = await make_engine()
    workflow = a_workflow("pause", "pause")
    workflow["spec"]["options"] = {"recovery": "fail"}
    await engine.create(Workflow, workflow)
    run, _ = await paused(engine)
    unstarted = await engine.submit("pause", Pausing().input)

    await engine.stop()

    for uid in (run.uid, unstarted.uid):
        ended = (await storage.get_run(uid)).run
        assert ended.failure is not None
        assert (ended.state, ended.failure.type) == (RunState.FAILED, "ServerStopped")


# Draining


async def test_while_draining_no_run_is_accepted_and_what_runs_goes_on(engine: Engine) -> None:
    run, pausing = await paused(engine)

    engine.draining = True

    with pytest.raises(Draining, match="Service is draining, no new workflow runs accepted"):
        await engine.submit("farm", {"n": 4})
    await engine.create(Workflow, a_workflow("new"))
    pausing.go.set()
    assert (await engine.wait(run.uid)).run.state is RunState.FINISHED
    engine.draining = False
    assert await result(engine, n=4) == 8


async def test_a_run_that_is_being_accepted_when_the_engine_stops_ends_too(
    make_engine: MakeEngine,
) -> None:
    storage = SlowToAccept()
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow("pause", "pause"))
    submitting = asyncio.create_task(engine.submit("pause", Pausing().input))
    await asyncio.wait_for(storage.reached.wait(), 5)

    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0)
    storage.go.set()
    await asyncio.gather(stopping, submitting)

    (stored,) = await storage.list_runs(RunQuery())
    assert stored.run.state is RunState.RUNNING


async def test_a_run_that_was_stored_begins_even_if_whoever_asked_for_it_has_gone(
    make_engine: MakeEngine,
) -> None:
    storage = SlowToAccept()
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow())
    submitting = asyncio.create_task(engine.submit("farm", {"n": 1}))
    await asyncio.wait_for(storage.reached.wait(), 5)

    submitting.cancel()
    storage.go.set()
    await asyncio.wait([submitting])
    await asyncio.gather(*engine._beginning)
    await engine.drained()

    (stored,) = await storage.list_runs(RunQuery())
    assert stored.run.state is RunState.FINISHED


async def test_it_is_drained_once_no_run_is_in_progress(engine: Engine) -> None:
    _, pausing = await paused(engine)
    drained = asyncio.ensure_future(engine.drained())
    await asyncio.sleep(0)
    assert not drained.done()

    pausing.go.set()

    await asyncio.wait_for(drained, 5)
    await asyncio.wait_for(engine.drained(), 5)


# What is left behind, and what expires


async def test_runs_that_an_earlier_server_left_behind_have_failed(
    make_engine: MakeEngine, storage: MemoryStorage
) -> None:
    pending, running = Run(workflow="farm"), Run(workflow="farm").to(RunState.RUNNING)
    finished = Run(workflow="farm").to(RunState.RUNNING).to(RunState.FINISHED)
    for run in (pending, running, finished):
        await storage.add_run(run)

    engine = await make_engine()

    for run in (pending, running):
        stored = await engine.get_run(run.uid)
        assert stored.run.state is RunState.FAILED
        assert json.loads(stored.result or b"") == [
            "ServerStopped",
            "the server stopped while this run was in progress",
        ]
    assert (await engine.get_run(finished.uid)).run == finished


async def test_runs_that_are_not_kept_give_their_result_and_are_gone(
    make_engine: MakeEngine,
) -> None:
    engine = await make_engine(keep_runs=False)
    await engine.create(Workflow, a_workflow())
    await engine.create(Workflow, a_workflow("pause", "pause"))

    ended = await engine.wait((await engine.submit("farm", {"n": 4})).uid)
    run, _ = await paused(engine)
    deleted = await engine.delete_run(run.uid)

    assert ended.result == b"8"
    assert deleted.run.state is RunState.CANCELLED
    assert await engine.list_runs(RunQuery()) == []


# A storage that fails


class Failing(MemoryStorage):
    """A storage that refuses to store how runs end, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.refused = times, asyncio.Event()

    async def save_run(self, run: Run, **facts: Any) -> None:
        self.times -= 1
        if self.times >= 0:
            self.refused.set()
            raise StorageError("the disk is full")
        await super().save_run(run, **facts)


async def test_an_end_that_cannot_be_stored_is_tried_once_more_as_a_failure(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_SECONDS", 0)
    engine = await make_engine(storage=Failing(1))
    await engine.create(Workflow, a_workflow())

    ended = await engine.wait((await engine.submit("farm", {"n": 4})).uid)

    assert ended.run.state is RunState.FAILED
    assert json.loads(ended.result or b"") == ["StorageError", "the disk is full"]
    assert "is not stored; once more" in caplog.text


async def test_an_end_is_tried_to_be_stored_until_it_is(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_SECONDS", 0)
    engine = await make_engine(storage=Failing(5))
    await engine.create(Workflow, a_workflow())

    ended = await engine.wait((await engine.submit("farm", {"n": 4})).uid)

    assert ended.run.state is RunState.FAILED
    assert (await engine.get_run(ended.run.uid)).run == ended.run


async def test_a_run_whose_end_is_not_stored_when_the_server_stops_is_left_to_the_next(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_SECONDS", 0)
    storage = Failing(1_000_000)
    engine = await make_engine(storage=storage)
    await engine.create(Workflow, a_workflow())
    run = await engine.submit("farm", {"n": 4})
    waiting = asyncio.ensure_future(engine.wait(run.uid))
    await storage.refused.wait()

    await engine.stop()

    with pytest.raises(StorageError, match="the disk is full"):
        await waiting
    assert (await storage.get_run(run.uid)).run.state is RunState.RUNNING
    storage.times = 0
    ended = await (await make_engine(storage=storage)).wait(run.uid)
    assert (ended.run.state, ended.result) == (RunState.FINISHED, b"8")


async def test_a_fault_of_flowdapt_itself_fails_the_run_and_is_logged(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(InlineExecutor):
        def submit(self, call: Any) -> Any:
            raise RuntimeError("of the executor")

    engine = await make_engine(executor=Broken())
    await engine.create(Workflow, a_workflow())

    ended = await engine.wait((await engine.submit("farm", {"n": 4})).uid)

    failure = Failure(type="RuntimeError", message="of the executor")
    assert ended.run.failure == failure
    assert "ended by a fault of flowdapt itself" in caplog.text
