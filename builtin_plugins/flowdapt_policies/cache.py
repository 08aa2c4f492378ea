"""Results of stages that are used again, for the same arguments, code and namespace."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from flowdapt_workers import payloads, stored

from flowdapt.errors import StorageError
from flowdapt.executors import Outcome
from flowdapt.policies import Compute
from flowdapt.resources import Stage
from flowdapt.texts import to_json
from flowdapt.walks import Walk
from flowdapt_policies.options import OptionPolicy, seconds

KEYS = "cache/"  #: begins the keys under which results are
_OF_POLICIES = {"cache", "when", "on_failure", "total_timeout", "timeout", "retries", "backoff"}


class Cache(OptionPolicy):
    """Gives a stored result in place of computing a stage, while it is young enough.

    What makes results the same: the function and the code it began with, the arguments, the
    options, the config and the namespace. Only small results are stored, as with
    :class:`~flowdapt.executors.Outcome`.
    """

    order = 5
    stage_options = ("cache",)

    def read(self, key: str, value: Any, stage: Stage | None) -> float | None:
        """Return how long results are used again; nothing where they are not at all."""
        del stage
        return None if value is False else seconds(key, value)

    async def stage(self, walk: Walk, stage: Stage, compute: Compute) -> Outcome:
        """Look for the result of a stage, compute it where there is none, and keep it."""
        keep = self.read("cache", stage.options["cache"], None)
        if keep is None or stage.name in walk.run.only:  # a part of the elements is no result
            return await compute()
        key = await self._key(walk, stage)
        found = await walk.storage.load_blob(key)
        if found is not None and stored.alone(found):
            try:
                ref = walk.executor.restore(found)
            except ValueError:  # an executor of another kind, or an earlier release, stored it
                pass
            else:
                return Outcome(ref, stored=found, attempts=0, worker="cache")
        outcome = await compute()
        block = outcome.stored
        if block is not None and stored.alone(block) and not outcome.items_failed:
            try:
                await walk.storage.save_blob(key, block, seconds=keep)
            except StorageError as error:  # the result is there all the same
                walk.log.warning("the result of stage %r is not cached: %s", stage.name, error)
        return outcome

    async def _key(self, walk: Walk, stage: Stage) -> str:
        """Return what is the same for all computations with the same result."""
        run = walk.run
        options = {k: v for k, v in stage.options.items() if k not in _OF_POLICIES}
        facts: list[Any] = [
            walk.executor.kind,
            stage.target,
            stage.type,
            stage.version,
            options,
            run.code,
            walk.is_mapped_over(stage),
            run.config,
            run.input if not stage.depends_on or stage.map_on else None,
        ]
        if stage.depends_on:
            asked = await walk.beside(
                stage,
                f"{__name__}.digest",
                *walk.refs(stage),
                resources={},
                final=True,
                mapped_on=False,
                options={},
            )
            facts.append(bytes(asked.json or b"").decode())
        return f"{KEYS}{run.namespace}/{sha256(to_json(facts)).hexdigest()}"


def digest(*values: Any) -> str:
    """Return what tells values apart: a hash of their pickles. Computed in a worker."""
    made = sha256()
    for value in values:
        for segment in payloads.dump(value):
            view = memoryview(segment).cast("B")
            made.update(view.nbytes.to_bytes(8, "little") + view)
    return made.hexdigest()
