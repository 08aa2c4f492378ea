"""Ten thousand models of 100 kB: saved, listed and loaded, beside files that nobody looks after."""

from __future__ import annotations

import json
import pickle
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flowdapt import models
from flowdapt.context import (
    Address,
    Places,
    WorkflowRunContext,
    reset_run_context,
    set_run_context,
)
from tests.benchmarks.measuring import Figure, in_turns, seconds

MODELS = 10_000
WEIGHTS = 12_500  #: of 8 bytes each
KEYS = [f"city-{number:05}" for number in range(MODELS)]


async def measure(repeat: int) -> list[Figure]:
    """Save all models once; then list them, and load them in turns with bare pickles."""
    with tempfile.TemporaryDirectory() as name, _run(Path(name)):
        weights = np.random.default_rng(7).random(WEIGHTS)
        bare = Path(name) / "bare"
        bare.mkdir()

        def save() -> None:
            for key in KEYS:
                models.save(key, weights, metrics={"error": 1.0})

        saved = seconds(save)
        for key in KEYS:
            (bare / key).write_bytes(pickle.dumps(weights, 5))

        def load_bare() -> None:
            for key in KEYS:
                with (bare / key).open("rb") as stream:
                    pickle.load(stream)

        async def load() -> None:
            for key in KEYS:
                models.load(key)

        loading = await in_turns(load, load_bare, repeat)
        listing = statistics.median(seconds(lambda: list(models.list())) for _ in range(repeat))
    each = loading.ours_s / MODELS
    bare_us = loading.floor_s / MODELS * 1e6
    facts = {"us_each": each * 1e6, "MB_per_s": 0.1 / each, "bare_us": bare_us}
    return [
        Figure("models, load 10,000 of 100 kB", loading.ratio, unit="x bare", facts=facts),
        Figure("models, list 10,000", listing, unit="s"),
        Figure("models, save one, synced", saved / MODELS * 1e3, unit="ms"),
    ]


@contextmanager
def _run(folder: Path) -> Iterator[None]:
    options = {"protocol": "file", "base_path": str(folder), "parameters": {}}
    artifacts = Address("flowdapt_artifacts.store:Store", json.dumps(options))
    places = Places(memory=Address("none:Memory"), artifacts=artifacts)
    token = set_run_context(WorkflowRunContext(objects=places))
    yield
    reset_run_context(token)
