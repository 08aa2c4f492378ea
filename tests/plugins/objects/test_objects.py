"""``flowdapt.objects``: strategies, namespaces and errors, in stages and outside."""

from __future__ import annotations

import json
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

import flowdapt
from flowdapt import objects
from flowdapt.context import (
    Address,
    Places,
    WorkflowRunContext,
    reset_run_context,
    set_run_context,
)
from flowdapt.errors import PluginError, ResultNotPicklable


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[OwnMemory]:
    memory = OwnMemory(app_dir=tmp_path)
    yield memory
    memory.close()


@pytest.fixture
def places(memory: OwnMemory, tmp_path: Path) -> Places:
    options = {"protocol": "file", "base_path": str(tmp_path), "parameters": {}}
    at = Address("flowdapt_artifacts.store:Store", json.dumps(options))
    return Places(memory.address, at)


@pytest.fixture(autouse=True)
def _run(places: Places) -> Iterator[None]:
    """Make each test code of a run in the namespace ``farm``."""
    token = set_run_context(WorkflowRunContext(namespace="farm", objects=places))
    yield
    reset_run_context(token)


def where(key: str, **options: Any) -> list[str]:
    return [entry.place for entry in objects.list(**options) if entry.key == key]


# Strategies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [*objects.Strategy, "fallback", "artifact", "cluster_memory"])
def test_what_was_put_is_got_exists_and_goes(strategy: str) -> None:
    objects.put("cow", {"says": "moo"}, strategy=strategy)

    assert objects.exists("cow", strategy=strategy)
    assert objects.get("cow", strategy=strategy) == {"says": "moo"}
    objects.delete("cow", strategy=strategy)
    assert not objects.exists("cow", strategy=strategy)


@pytest.mark.parametrize(
    ("strategy", "error"),
    [
        ("cluster_memory", KeyError),
        ("artifact", FileNotFoundError),
        ("fallback", FileNotFoundError),
        (None, FileNotFoundError),
    ],
)
def test_a_missing_key_is_an_error_that_names_it(
    strategy: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match="'cow'"):
        objects.get("cow", strategy=strategy)
    objects.delete("cow", strategy=strategy)


@pytest.mark.parametrize(
    ("strategy", "place"),
    [("fallback", ["memory"]), ("cluster_memory", ["memory"]), ("artifact", ["artifact"])],
)
def test_put_writes_to_one_place(strategy: str, place: list[str]) -> None:
    objects.put("cow", 1, strategy=strategy)

    assert where("cow") == place


def test_fallback_takes_the_memory_before_the_artifact(memory: OwnMemory) -> None:
    objects.put("cow", "old", strategy="artifact")
    objects.put("cow", "new")

    assert objects.get("cow") == "new"
    memory.clear("farm")
    assert objects.get("cow") == "old"


def test_fallback_deletes_in_both_places() -> None:
    objects.put("cow", 1, strategy="artifact")
    objects.put("cow", 2)

    objects.delete("cow")

    assert where("cow") == []


def test_fallback_goes_to_the_artifacts_when_the_memory_fails(
    memory: OwnMemory, caplog: pytest.LogCaptureFixture
) -> None:
    memory.close()

    objects.put("cow", [1, 2])

    assert objects.get("cow") == [1, 2]
    assert where("cow", strategy="artifact") == ["artifact"]
    assert "object 'cow' goes by the artifacts: the memory at" in caplog.text


def test_hooks_lay_out_artifacts_and_are_not_called_for_memory() -> None:
    def save(artifact: Any, value: str) -> None:
        artifact.new_file("words", value)

    def load(artifact: Any) -> str:
        return str(artifact.get_file("words").read().decode().upper())

    hooks: dict[str, Any] = {"load_artifact_hook": load}
    objects.put("cow", "moo", strategy="artifact", save_artifact_hook=save)
    assert objects.get("cow", strategy="artifact", **hooks) == "MOO"

    objects.put("cow", "memory", save_artifact_hook=save)
    assert objects.get("cow", **hooks) == "memory"


def test_the_strategy_of_the_settings_counts_where_none_is_given(places: Places) -> None:
    chosen = Places(places.memory, places.artifacts, "artifact")
    token = set_run_context(WorkflowRunContext(objects=chosen))

    objects.put("cow", 1)

    assert where("cow") == ["artifact"]
    reset_run_context(token)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'cluster_memroy' is no strategy .*'cluster_memory'"):
        objects.put("cow", 1, strategy="cluster_memroy")


def test_without_a_plugin_that_keeps_them_it_says_what_is_missing() -> None:
    token = set_run_context(WorkflowRunContext(objects=Places(None, None)))

    with pytest.raises(PluginError, match="flowdapt_memory"):
        objects.put("cow", 1, strategy="cluster_memory")
    with pytest.raises(PluginError, match="flowdapt_artifacts"):
        objects.put("cow", 1)
    reset_run_context(token)


# Names and values ------------------------------------------------------------------------------


def test_the_namespace_is_the_runs_unless_another_is_given() -> None:
    objects.put("cow", 1)
    objects.put("cow", 2, namespace="zoo")

    assert objects.get("cow") == objects.get("cow", namespace="farm") == 1
    assert objects.get("cow", namespace="zoo") == 2
    assert [e.namespace for e in objects.list(namespace="zoo")] == ["zoo"]


def test_a_value_says_when_it_will_be_gone() -> None:
    objects.put("cow", 1, ttl=60)

    (entry,) = objects.list()
    assert entry.expires == pytest.approx(entry.created + 60)


@pytest.mark.parametrize("ttl", [-1, 0, float("inf"), float("nan"), "1h"])
def test_what_is_no_time_to_live_is_refused(ttl: Any) -> None:
    with pytest.raises(ValueError, match="is no time to live"):
        objects.put("cow", 1, ttl=ttl)


def test_arrays_come_back_without_a_copy_and_read_only(memory: OwnMemory) -> None:
    import numpy as np

    objects.put("field", np.arange(300_000.0))

    first, second = objects.get("field"), objects.get("field")

    assert first.ctypes.data == second.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    assert first.copy().flags.writeable
    assert memory.stats()["objects"] == 1


def test_frames_of_every_kind_come_back_as_they_were() -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from polars.testing import assert_frame_equal

    columns = {"n": range(200_000), "x": [0.5] * 200_000, "s": ["barn", None] * 100_000}
    pandas, polars, arrow = pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)
    for key, frame in (("pandas", pandas), ("polars", polars), ("arrow", arrow)):
        objects.put(key, frame, strategy="cluster_memory")
    objects.put("series", polars["s"])

    pd.testing.assert_frame_equal(objects.get("pandas"), pandas)
    assert_frame_equal(objects.get("polars"), polars)
    assert objects.get("arrow").equals(arrow)
    assert objects.get("series").to_list() == polars["s"].to_list()
    assert objects.get("series").name == "s"


def test_a_value_that_cannot_be_pickled_is_refused_and_what_was_there_stays() -> None:
    objects.put("cow", "there")

    with pytest.raises(ResultNotPicklable, match=r"object 'cow' .*_thread\.lock"):
        objects.put("cow", threading.Lock(), strategy="cluster_memory")

    assert objects.get("cow") == "there"


@pytest.mark.parametrize("key", ["", "a/b", "x" * 2000])
def test_a_key_that_is_no_name_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        objects.put(key, 1, strategy="artifact")


# In stages, and without a run ------------------------------------------------------------------


def fill(word: str) -> int:
    objects.put("word", word)
    return os.getpid()


def read(pid: int) -> list[Any]:
    return [objects.get("word"), pid == os.getpid()]


STAGES = [
    {"name": "fill", "target": fill},
    {"name": "read", "target": read, "depends_on": ["fill"]},
]


@pytest.mark.parametrize("executor", ["inline", "threads", "local"])
def test_stages_share_objects_with_one_another_and_the_script_that_runs_them(
    executor: str, tmp_path: Path
) -> None:
    script = f"""
        import json, os
        import flowdapt
        from flowdapt import objects
        from tests.plugins.objects.test_objects import STAGES
        workflow = {{"spec": {{"stages": STAGES}}}}
        (word, _) = flowdapt.run(workflow, {{"word": "moo"}}, executor={executor!r})
        first = objects.get("word")
        objects.put("word", "oink")
        other = flowdapt.run(workflow, {{"word": "baa"}}, namespace="zoo", executor={executor!r})
        print(json.dumps([word, first, objects.get("word"), other[0]]))
    """

    assert outside(script, tmp_path) == ["moo", "moo", "oink", "baa"]


def test_a_script_beside_a_server_finds_what_its_stages_put(tmp_path: Path) -> None:
    script = """
        import asyncio, json, subprocess, sys
        from flowdapt import objects
        from flowdapt.context import WorkflowRunContext, set_run_context
        from flowdapt.plugins import Plugins
        from flowdapt.server import Server
        plugins = Plugins.load(cache_dir=None)

        async def main():
            settings = plugins.resolve("exports", "settings")(overrides=["rpc.api.port=0"])
            async with Server(settings, plugins) as server:
                set_run_context(WorkflowRunContext(objects=server.places))
                objects.put("word", "of the server")
                code = "from flowdapt import objects; print(objects.get('word'), end='')"
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", code, stdout=subprocess.PIPE)
                out, _ = await process.communicate()
                print(json.dumps(out.decode()))

        asyncio.run(main())
    """

    assert outside(script, tmp_path) == "of the server"


def outside(script: str, app_dir: Path) -> Any:
    """Run a script in a process of its own, and return the last line that it prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "FLOWDAPT__APP_DIR": str(app_dir), "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_functions_are_named_where_they_are_looked_for() -> None:
    assert callable(objects.put)
    assert flowdapt.get_run_context().namespace == "farm"
    with pytest.raises(AttributeError, match="no attribute 'putt'"):
        _ = objects.putt


def test_what_went_to_the_artifacts_is_not_hidden_by_what_was_in_memory(
    memory: OwnMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("cow", "old")
    with monkeypatch.context() as patch:
        patch.setattr("flowdapt_memory.shm.ShmMemory._written", lambda *_: False)
        patch.setattr("flowdapt_memory.shm._write_file", _no_room)
        objects.put("cow", "new")

    assert objects.get("cow") == "new"
    assert where("cow") == ["artifact"]
    assert memory.stats()["objects"] == 0


def _no_room(*_: Any) -> int:
    raise OSError(28, "No space left on device")
