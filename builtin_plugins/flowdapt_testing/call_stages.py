"""Stages that call workflows, and the workflows: for the suites about calls."""

from __future__ import annotations

from flowdapt_testing.desks import user_stage as stage

# One source for all tests, in one place, so that processes which have it need not be started for
# each.
SOURCE = """
import asyncio, os, time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
import flowdapt

def noted(folder, what):
    with (Path(folder) / what).open("a") as file:
        file.write("x")
        return file.tell()

def double(n, folder=None):
    if folder:
        noted(folder, "double")
    return {"double": 2 * n}

def calls(n, folder=None):
    return flowdapt.call_workflow("double", {"n": n, "folder": folder})["double"]

async def calls_async(n, folder=None):
    return (await flowdapt.call_workflow_async("double", {"n": n, "folder": folder}))["double"]

async def calls_many(n):
    calls = (flowdapt.call_workflow_async("double", {"n": i}) for i in range(n))
    return [answer["double"] for answer in await asyncio.gather(*calls)]

def calls_above(n):
    return flowdapt.call_workflow("calls", {"n": n})

async def calls_above_async(n):
    return await flowdapt.call_workflow_async("calls-async", {"n": n})

def numbers(n):
    return list(range(n))

def fans_out(n):
    return sum(flowdapt.call_workflow("fan", {"n": n}))

def total(xs):
    return sum(xs)

def waits(folder):
    noted(folder, "waits")
    while not (Path(folder) / "gate").exists():
        time.sleep(0.005)
    return "waited"

async def waits_async(folder):
    noted(folder, "waits")
    while not (Path(folder) / "gate").exists():
        await asyncio.sleep(0.005)
    return "waited"

def calls_waits(folder):
    noted(folder, "calls")
    return flowdapt.call_workflow("waits", {"folder": folder})

async def calls_waits_async(folder):
    noted(folder, "calls")
    return await flowdapt.call_workflow_async("waits", {"folder": folder})

async def calls_waits_briefly(folder):
    async with asyncio.timeout(None) as limit:
        call = asyncio.create_task(flowdapt.call_workflow_async("waits", {"folder": folder}))
        while not (Path(folder) / "waits").exists():
            await asyncio.sleep(0.005)
        call.cancel()
    return "no more"

def starts_late(folder):
    noted(folder, "begun")
    try:
        while not flowdapt.get_run_context().cancelled:
            time.sleep(0.002)
        flowdapt.start_workflow("double", {"n": 1})
    finally:
        noted(folder, "left")

def fails_once(n, folder):
    if noted(folder, "fails") == 1:
        raise ValueError(f"not {n}")
    return n

def calls_failing(n, folder):
    noted(folder, "calls")
    return flowdapt.call_workflow("fails-once", {"n": n, "folder": folder})

def looks_at_failure(n, folder):
    try:
        flowdapt.call_workflow("fails-once", {"n": n, "folder": folder})
    except flowdapt.WorkflowFailed as error:
        return [error.workflow, error.type, error.message]

def fails_after_call(n, folder):
    result = flowdapt.call_workflow("double", {"n": n, "folder": folder})
    again = flowdapt.call_workflow("double", {"n": n, "folder": folder})
    if noted(folder, "after") == 1:
        raise ConnectionError("try again")
    return [result["double"], again["double"]]

def calls_with_key(n, folder):
    given = {"n": n, "folder": folder, "when": time.time_ns()}
    result = flowdapt.call_workflow("double", given, key="the call")
    if noted(folder, "after") == 1:
        raise ConnectionError("try again")
    return result["double"]

def starts(folder):
    uid, name = flowdapt.start_workflow("waits", {"folder": folder})
    return [str(uid), name]

def dies_after_call(n, folder):
    result = flowdapt.call_workflow("double", {"n": n, "folder": folder})
    if noted(folder, "dies") == 1:
        os._exit(3)
    return result["double"]

def calls_nothing():
    return flowdapt.call_workflow("no-such-workflow")

def calls_with_list():
    return flowdapt.call_workflow("double", [1])

def calls_in_threads(n):
    with ThreadPoolExecutor(n) as pool:
        pending = [pool.submit(copy_context().run, calls, i) for i in range(n)]
        return [one.result() for one in pending]

def calls_in_own_loop(n):
    return asyncio.run(calls_many(n))
"""

WORKFLOWS = {
    "double": [stage("double", "double")],
    "calls": [stage("calls", "calls")],
    "calls-async": [stage("calls", "calls_async")],
    "above": [stage("above", "calls_above")],
    "above-async": [stage("above", "calls_above_async")],
    "fan": [
        stage("numbers", "numbers"),
        stage("each", "calls", "numbers", type="parameterized"),
    ],
    "waits": [stage("waits", "waits_async")],
    "fails-once": [stage("fails", "fails_once")],
}
