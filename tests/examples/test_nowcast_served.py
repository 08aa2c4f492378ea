"""The nowcast example on a server: one workflow trains, another forecasts with what that left."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from flowdapt_triggers.resource import TriggerRule

from flowdapt.client import Client, RunFailed
from flowdapt.events import RUN_FINISHED
from flowdapt.resources import Workflow
from tests.plugins.cli.processes import Process
from tests.ray_clusters import lingers

FOLDER = Path(__file__).parents[2] / "examples" / "nowcast"
SMALL = {"variables": ["temp", "humid"], "horizons": [3, 6], "shown_horizons": [3, 6]}
ASKED = {"station": "EWR", "variable": "humid"}


@dataclass(frozen=True)
class Served:
    """A server with the example's workflows."""

    process: psutil.Process
    client: Client

    def configure(self, **change: Any) -> None:
        """Apply the example's config, for one station and few models, with a change."""
        config = yaml.safe_load((FOLDER / "config.yaml").read_text())
        data = config["spec"]["data"]
        data["stations"] = data["stations"][:1]
        data |= SMALL | change
        self.client.configs.apply(config)

    def run(self, workflow: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return the result of a run."""
        return self.client.runs.run(workflow, dict(values or {})).value()

    def kill_workers(self) -> None:
        """Kill the processes that nobody else descends from, as ``kill -9`` does."""
        processes = self.process.children(recursive=True)
        workers = [process for process in processes if not process.children()]
        assert workers
        for worker in workers:
            worker.send_signal(signal.SIGKILL)


@contextmanager
def serving(app_dir: Path, *options: str) -> Iterator[Served]:
    given = [word for option in ("rpc.api.port=0", *options) for word in ("-o", option)]
    process = Process("-d", app_dir, *given, "serve")
    try:
        address = process.line("serves at").split("serves at ")[1].split(",")[0]
        with Client(address) as client:
            served = Served(psutil.Process(process.pid), client)
            served.configure()
            for name in ("workflow", "forecast"):
                client.workflows.apply(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
            yield served
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def _example_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))


def test_forecasts_are_made_of_what_another_run_left(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        with pytest.raises(RunFailed, match=r"no model for .* yet: run the workflow `nowcast`"):
            server.run("forecast", ASKED)
        _, trained = server.run("nowcast")["forecast"]

        server.configure(source="none")  # nothing can be read any more
        answers = [server.run("forecast", ASKED)]
        server.kill_workers()
        answers.append(server.run("forecast", ASKED))

        assert answers == [trained, trained]
        assert list(trained) == ["station", "time", "variable", "now", "+3h", "+6h"]

    with serving(tmp_path) as server:  # the memory ended with its server, the models stayed
        assert server.run("forecast", ASKED) == trained
        server.configure(source="none")
        assert server.run("forecast", ASKED) == trained


def test_new_features_train_models_and_these_forecast_by_themselves(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for one in yaml.safe_load_all((FOLDER / "triggers.yaml").read_text()):
            kind = Workflow if one["kind"] == "workflow" else TriggerRule
            server.client.resources(kind).apply(one)
        server.run("nowcast")  # which somebody asked for, so that nothing follows

        server.client.triggers.resume("create_features")
        server.client.triggers.fire("create_features")

        follow = server.client.events.follow
        with follow(after=0, workflow="forecast", types=[RUN_FINISHED]) as ends:
            answer = next(iter(ends)).data["result"]
        begun = [run.workflow for run in server.client.runs.list(limit=None)]

    assert begun == ["forecast", "nowcast", "create_features", "nowcast"]
    assert (answer["station"], answer["variable"]) == ("EWR", "temp")


@pytest.mark.parametrize(
    ("engine", "option"), [("dask", "dashboard_port=0"), ("ray", "include_dashboard=false")]
)
def test_a_cluster_trains_and_forecasts_likewise_and_ends_with_its_server(
    engine: str, option: str, tmp_path: Path
) -> None:
    options = (f"executor.target={engine}", "executor.cpus=2", f"executor.{option}")
    with serving(tmp_path, *options) as server:
        _, trained = server.run("nowcast")["forecast"]
        server.configure(source="none")
        asked = server.run("forecast", ASKED)
        computing = [p for p in server.process.children(recursive=True) if not lingers(p)]

    _, left = psutil.wait_procs(computing, timeout=120)

    assert asked == trained
    assert len(computing) > 2
    assert not left
