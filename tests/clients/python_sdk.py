"""Calls the published Python SDK, in whose environment it runs: ``python_sdk.py SERVER NAME``."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from typing import Any

from flowdapt_sdk import FlowdaptSDK
from flowdapt_sdk.errors import (
    APIError,
    BadRequestError,
    MethodNotAllowed,
    ResourceNotFoundError,
    ValidationError,
)


def a_workflow(name: str, *functions: str, **annotations: str) -> dict[str, Any]:
    stages = [{"name": f, "target": f"user_modules.orchard.{f}"} for f in functions or ("square",)]
    metadata = {"name": name, "annotations": annotations}
    return {"kind": "workflow", "metadata": metadata, "spec": {"stages": stages}}


def a_config(name: str, **data: Any) -> dict[str, Any]:
    return {"kind": "config", "metadata": {"name": name}, "spec": {"data": data}}


async def failure_of(call: Any) -> APIError:
    try:
        await call
    except APIError as error:
        return error
    raise AssertionError("nothing was raised")


async def ping(sdk: FlowdaptSDK) -> None:
    told = await sdk.ping()

    assert (told["app"], told["api_version"]) == ("flowdapt", "v1"), told


async def status(sdk: FlowdaptSDK) -> None:
    told = await sdk.system.status()

    assert told.system.memory > 0
    assert told.services["CoreService"]["status"] == "OK"


async def workflows(sdk: FlowdaptSDK) -> None:
    calls = sdk.workflows
    made = await calls.create_workflow(a_workflow("sdk_made", group="a"))
    assert made.metadata.annotations == {"group": "a"}
    assert made.spec.stages[0].type == "simple"

    by_name = await calls.get_workflow("sdk_made")
    by_uid = await calls.get_workflow(str(made.metadata.uid))
    assert by_name == by_uid
    assert "sdk_made" in [one.metadata.name for one in await calls.list_workflows()]

    changed = await calls.update_workflow("sdk_made", a_workflow("sdk_renamed", "fail"))
    assert changed.metadata.uid == made.metadata.uid
    assert changed.metadata.created_at == made.metadata.created_at
    assert (changed.metadata.name, changed.metadata.annotations) == ("sdk_renamed", {})

    again = await calls.update_workflow("sdk_renamed", changed)
    assert again.spec == changed.spec

    gone = await calls.delete_workflow("sdk_renamed")
    assert gone.metadata.uid == made.metadata.uid
    assert isinstance(await failure_of(calls.get_workflow("sdk_renamed")), ResourceNotFoundError)


def a_trigger(name: str, **spec: Any) -> dict[str, Any]:
    action = {"target": "run_workflow", "parameters": {"workflow": "sdk_none"}}
    return {
        "kind": "trigger_rule",
        "metadata": {"name": name},
        "spec": {"action": action, **spec},
    }


async def triggers(sdk: FlowdaptSDK) -> None:
    calls = sdk.triggers
    schedule = a_trigger("sdk_trigger", type="schedule", rule=["0 3 * * *", "@yearly"])
    made = await calls.create_trigger(schedule)
    assert (made.spec.type.value, made.spec.rule) == ("schedule", ["0 3 * * *", "@yearly"])
    assert (await calls.get_trigger("sdk_trigger")).spec == made.spec
    assert "sdk_trigger" in [one.metadata.name for one in await calls.list_triggers()]

    condition = a_trigger("sdk_trigger", type="condition", rule={"eq": [{"var": "type"}, "x"]})
    changed = await calls.update_trigger("sdk_trigger", condition)
    assert changed.spec.rule == {"eq": [{"var": "type"}, "x"]}
    again = await calls.update_trigger("sdk_trigger", changed)
    assert again.spec == changed.spec

    bad = a_trigger("sdk_bad", type="schedule", rule=["61 * * * *"])
    assert isinstance(await failure_of(calls.create_trigger(bad)), BadRequestError)
    # Types that it does not know are shown as something that it does, and come back as they were.
    once = {"of_type": {"once": "2090-01-01"}}
    hook = await calls.create_trigger(a_trigger("sdk_once", type="condition", rule=once))
    assert (hook.spec.type.value, hook.spec.rule) == ("condition", once)
    assert (await calls.update_trigger("sdk_once", hook)).spec == hook.spec
    wrong = a_trigger("sdk_bad", type="condition", rule={"of_type": {"once": "soon"}})
    assert isinstance(await failure_of(calls.create_trigger(wrong)), BadRequestError)
    gone = await calls.delete_trigger("sdk_trigger")
    assert gone.metadata.uid == made.metadata.uid
    assert (await sdk.system.status()).services["TriggerService"]["status"] == "OK"


async def runs(sdk: FlowdaptSDK) -> None:
    calls = sdk.workflows
    workflow = await calls.create_workflow(a_workflow("sdk_runs"))
    run = await calls.run_workflow("sdk_runs", input={"n": 3}, namespace="orchard")
    assert (run.state, run.source, run.workflow) == ("finished", "api", "sdk_runs")
    assert run.result == [9, "orchard", {}]
    assert run.started_at <= run.finished_at
    assert run.started_at.tzinfo is None

    empty: list[Any] = [None, {}]
    for nothing in empty:
        bare = await calls.run_workflow(str(workflow.metadata.uid), input=nothing)
        assert bare.result == [4, "default", {}], bare

    assert await calls.get_workflow_run(run.name) == await calls.get_workflow_run(str(run.uid))
    assert len(await calls.list_workflow_runs("sdk_runs")) == 3
    newest = await calls.list_workflow_runs("sdk_runs", limit=1)
    assert [one.uid for one in newest] == [bare.uid]

    gone = await calls.delete_workflow_run(run.name)
    assert gone.uid == run.uid
    assert isinstance(await failure_of(calls.get_workflow_run(run.name)), ResourceNotFoundError)


async def runs_without_waiting(sdk: FlowdaptSDK) -> None:
    calls = sdk.workflows
    await calls.create_workflow(a_workflow("sdk_no_wait"))

    run = await calls.run_workflow("sdk_no_wait", input={"n": 5}, wait=False)
    assert run.state in ("pending", "running")
    assert run.finished_at is None
    while run.finished_at is None:
        run = await calls.get_workflow_run(str(run.uid))

    assert (run.state, run.result[0]) == ("finished", 25)


async def failing_runs(sdk: FlowdaptSDK) -> None:
    await sdk.workflows.create_workflow(a_workflow("sdk_failing", "fail"))

    run = await sdk.workflows.run_workflow("sdk_failing")

    assert (run.state, run.result) == ("failed", ["ValueError", "on purpose"])


async def configs(sdk: FlowdaptSDK) -> None:
    calls = sdk.configs
    made = await calls.create_config(a_config("sdk_config", depth=4))
    assert made.spec.data == {"depth": 4}
    assert (await calls.get_config("sdk_config")).metadata == made.metadata
    assert "sdk_config" in [one.metadata.name for one in await calls.list_configs()]

    selecting = a_config("sdk_config", depth=5)
    selecting["spec"]["selector"] = {"type": "annotation", "value": {"group": "orchard"}}
    changed = await calls.update_config(str(made.metadata.uid), selecting)
    assert changed.spec.selector.type.value == "annotation"
    await sdk.workflows.create_workflow(a_workflow("sdk_selected", group="orchard"))
    run = await sdk.workflows.run_workflow("sdk_selected")
    assert run.result[2] == {"depth": 5}

    assert (await calls.delete_config("sdk_config")).metadata.uid == made.metadata.uid
    assert isinstance(await failure_of(calls.get_config("sdk_config")), ResourceNotFoundError)


async def plugins(sdk: FlowdaptSDK) -> None:
    calls = sdk.plugins
    listed = {one.name: one for one in await calls.list_plugins()}
    assert listed["orchard_plugin"] == await calls.get_plugin("orchard_plugin")
    assert listed["orchard_plugin"].module == "orchard_plugin"
    assert listed["orchard_plugin"].metadata.version == "2.1.0"

    assert (await calls.list_plugin_files("orchard_plugin")).files == ["stages.yaml"]
    parts = await calls.get_plugin_file("orchard_plugin", "stages.yaml")
    assert b"".join([part async for part in parts]) == b"kind: workflow\n"

    missing = calls.get_plugin_file("orchard_plugin", "orchard_plugin.py")
    assert isinstance(await failure_of(missing), ResourceNotFoundError)
    assert isinstance(await failure_of(calls.get_plugin("nobody")), ResourceNotFoundError)


async def metrics(sdk: FlowdaptSDK) -> None:
    everything = (await sdk.metrics.metrics()).root
    memory = "process.runtime.cpython.memory"
    assert {"api_request_latency", memory, "system.cpu.utilization"} <= everything.keys()

    now = datetime.utcnow()
    one = (await sdk.metrics.metrics(memory, end_time=now, max_length=4)).root
    assert one.keys() == {memory}
    assert 0 < len(one[memory]) <= 4
    assert one[memory][0].value > 0
    hour = timedelta(hours=1)
    assert (await sdk.metrics.metrics(memory, start_time=now - hour)).root[memory]
    assert not (await sdk.metrics.metrics(memory, start_time=now + hour)).root[memory]
    assert (await sdk.metrics.metrics("unknown")).root == {"unknown": []}


async def errors(sdk: FlowdaptSDK) -> None:
    calls = sdk.workflows
    await calls.create_workflow(a_workflow("sdk_errors"))
    taken = await failure_of(calls.create_workflow(a_workflow("sdk_errors")))
    assert isinstance(taken, BadRequestError)
    assert "sdk_errors" in taken.detail

    cycle = a_workflow("sdk_cycle")
    cycle["spec"]["stages"][0]["depends_on"] = ["square"]
    assert isinstance(await failure_of(calls.create_workflow(cycle)), BadRequestError)
    updated = calls.update_workflow("nobody", a_workflow("nobody"))
    assert isinstance(await failure_of(updated), ResourceNotFoundError)
    assert isinstance(await failure_of(calls.delete_workflow("nobody")), ResourceNotFoundError)
    assert isinstance(await failure_of(calls.run_workflow("nobody")), ResourceNotFoundError)
    assert isinstance(await failure_of(calls.list_workflow_runs("nobody")), ResourceNotFoundError)
    wrong = calls.list_workflow_runs("sdk_errors", limit="many")
    assert isinstance(await failure_of(wrong), ValidationError)
    assert isinstance(await failure_of(sdk.client.patch("/workflows/")), MethodNotAllowed)
    assert isinstance(await failure_of(sdk.client.get("/nothing")), ResourceNotFoundError)


async def draining(sdk: FlowdaptSDK) -> None:
    await sdk.workflows.create_workflow(a_workflow("sdk_draining"))
    await sdk.client.post("/drain")
    try:
        refused = await failure_of(sdk.workflows.run_workflow("sdk_draining"))
    finally:
        await sdk.client.delete("/drain")

    assert refused.status_code == 503
    assert (await sdk.workflows.run_workflow("sdk_draining")).state == "finished"


async def main(server: str, name: str) -> None:
    async with FlowdaptSDK(server) as sdk:
        await globals()[name](sdk)


asyncio.run(main(*sys.argv[1:]))
