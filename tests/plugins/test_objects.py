"""What users of ``flowdapt.objects`` meet, in a run and outside of one, also where they err."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowdapt_memory.owners import OwnMemory

from flowdapt import objects
from flowdapt.context import Places, WorkflowRunContext
from flowdapt.errors import ResultNotPicklable

STRATEGIES = pytest.mark.parametrize("strategy", ["fallback", "artifact", "cluster_memory"])
inside = pytest.mark.usefixtures("run")


@pytest.fixture
def run(run: WorkflowRunContext, tmp_path: Path) -> Iterator[WorkflowRunContext]:
    """A run over the memory that comes with flowdapt."""
    assert run.objects is not None
    memory = OwnMemory(app_dir=tmp_path)
    run.objects = Places(memory.address, run.objects.artifacts)
    yield run
    memory.close()


@inside
@STRATEGIES
def test_what_was_put_is_got_until_it_is_deleted(strategy: str) -> None:
    objects.put("cow", {"says": "moo"}, strategy=strategy)

    assert objects.get("cow", strategy=strategy) == {"says": "moo"}
    objects.delete("cow", strategy=strategy)
    assert not objects.exists("cow", strategy=strategy)


@inside
def test_a_strategy_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'artefact' is no strategy \(did you mean 'artifact'\?"):
        objects.put("cow", 1, strategy="artefact")
    with pytest.raises(ValueError, match="there are fallback, artifact, cluster_memory"):
        objects.get("cow", strategy="disk")


@inside
@STRATEGIES
@pytest.mark.parametrize("ttl", [0, -1, "5", "soon", float("nan"), float("inf")])
def test_a_time_to_live_that_is_none_is_refused(strategy: str, ttl: Any) -> None:
    with pytest.raises(ValueError, match="is no time to live: give seconds"):
        objects.put("cow", 1, ttl=ttl, strategy=strategy)

    assert not objects.exists("cow")


@inside
def test_an_object_that_is_nowhere_is_named_with_the_places() -> None:
    missing = "no object 'cow' in namespace 'of-run', neither in memory nor as an artifact"

    with pytest.raises(FileNotFoundError, match=missing):
        objects.get("cow")


@inside
def test_a_key_that_is_a_name_in_memory_only_does_what_others_do() -> None:
    with pytest.raises(FileNotFoundError, match="no object 'farm/cow'"):
        objects.get("farm/cow")
    assert not objects.exists("farm/cow")

    objects.put("farm/cow", "moo")

    assert objects.get("farm/cow") == "moo"
    objects.delete("farm/cow")
    assert not objects.exists("farm/cow")
    with pytest.raises(ValueError, match="'farm/cow' is no name for an artifact"):
        objects.put("farm/cow", "moo", strategy="artifact")


@inside
@STRATEGIES
@pytest.mark.parametrize("key", ["", None, 5, ("cow", 1), "x" * 2000])
def test_a_key_that_is_no_name_anywhere_is_refused_by_each_call(key: Any, strategy: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        objects.put(key, 1, strategy=strategy)
    for call in (objects.get, objects.exists, objects.delete):
        with pytest.raises(ValueError, match="is no"):
            call(key, strategy=strategy)


@inside
@STRATEGIES
def test_what_cannot_be_pickled_is_named_with_its_key(strategy: str) -> None:
    with pytest.raises(ResultNotPicklable, match=r"object 'cow' .* _thread.lock"):
        objects.put("cow", {"bell": threading.Lock()}, strategy=strategy)

    assert not objects.exists("cow")


@inside
def test_an_object_saved_with_a_hook_says_how_it_is_read(run: WorkflowRunContext) -> None:
    def save(artifact: Any, value: Any) -> None:
        artifact["value_type"] = "mine"
        artifact.new_file("mine.txt", value)

    objects.put("cow", "moo", strategy="artifact", save_artifact_hook=save)

    with pytest.raises(FileNotFoundError, match="saved with a hook, as 'mine'"):
        objects.get("cow")


STARTS = """
    import asyncio, subprocess, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    from multiprocessing import get_context

    import flowdapt
    from flowdapt import models, objects

    def keep(key):
        objects.put(key, key, strategy="cluster_memory")
        models.save(key, key)

    async def waits():
        await asyncio.to_thread(keep, "to_thread")
        keep("async")

    def starts():
        thread = threading.Thread(target=keep, args=["thread"])
        thread.start()
        thread.join()
        with ThreadPoolExecutor() as pool:
            pool.submit(keep, "pool").result()
        child = get_context("fork").Process(target=keep, args=["fork"])
        child.start()
        child.join()
        code = "from flowdapt.objects import put; put('child', 1, strategy='cluster_memory')"
        subprocess.run([sys.executable, "-c", code], check=True)

    def finds(*_):
        entries = objects.list(strategy="cluster_memory")
        return sorted(entry.key for entry in entries), [model.key for model in models.list()]

    if __name__ == "__main__":
        stages = [
            {"name": "starts", "target": starts},
            {"name": "waits", "target": waits},
            {"name": "finds", "target": finds, "depends_on": ["starts", "waits"]},
        ]
        print(*flowdapt.run({"spec": {"stages": stages}}, executor="local"), sep="\\n")
"""


def test_what_a_stage_starts_shares_with_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(STARTS))

    done = subprocess.run(
        [sys.executable, script],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "FLOWDAPT__APP_DIR": str(tmp_path / "app")},
    )

    assert done.returncode == 0, done.stderr
    objects_there, models_there = map(ast.literal_eval, done.stdout.splitlines())
    assert models_there == ["async", "fork", "pool", "thread", "to_thread"]
    assert objects_there == sorted([*models_there, "child"])
