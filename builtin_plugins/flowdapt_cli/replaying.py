"""Computes a stage of a run once more, in this process, where breakpoints stop."""

from __future__ import annotations

import asyncio
import json
import os
import pdb
import re
import sys
import tempfile
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt_workers import payloads, stored

from flowdapt.errors import ResultNotPicklable, StageError
from flowdapt.executors import Host, StageFailed
from flowdapt.runs import Failure, Run, RunState
from flowdapt.texts import shown as as_text
from flowdapt.texts import to_json
from flowdapt.walks import Walk, stage_types
from flowdapt_cli.development import debugger
from flowdapt_cli.errors import FAILED, CommandError
from flowdapt_cli.inputs import values_of
from flowdapt_cli.output import Form, dump, note, say
from flowdapt_cli.past import FORBIDDEN, NOT_FOUND, Past
from flowdapt_cli.replays import Plan
from flowdapt_cli.sizes import size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowdapt.client import Client
    from flowdapt.context import Sealed
    from flowdapt.plugins import Plugins
    from flowdapt_cli.invocation import Invocation

LONGEST = 4000  #: characters of a result that are shown

_SECRET = re.compile(r"\$secret\{\s*([^{}]*?)\s*\}")
_NOT_OF_A_RUN = {"result", "result_bytes", "finished_at", "failure", "state", "code"}


@dataclass(frozen=True)
class Replay:
    """What is to be computed once more.

    :param folder: goes on the import path, first
    :param stage: absent, the one that failed
    :param item: of a parameterized stage; absent, the first that failed, or else all
    :param debug: open the debugger where it raises
    :param afresh: compute earlier stages, too, and load nothing that was pickled
    :param secrets: a file with values for the secrets that the run's config names
    """

    run: str
    folder: Path
    stage: str | None = None
    item: int | None = None
    debug: bool = False
    afresh: bool = False
    secrets: str | None = None
    form: Form = "table"

    def start(self, invocation: Invocation) -> int:
        """Ask the server for what there is, compute, and say what came out; return the status."""
        _import_from(self.folder)
        if invocation.app_dir is not None:  # objects are where the server of it has them
            os.environ["FLOWDAPT__APP_DIR"] = str(invocation.app_dir)
        if "PYTHONBREAKPOINT" not in os.environ:
            sys.breakpointhook = debugger
        plugins = invocation.server_plugins(invocation.settings())
        with invocation.client() as client:
            past = Past.of(client, self.run)
            stored = _Stored(client, past.run, none=self.afresh)
            stage = self.stage or past.failed_stage()
            item = past.failed_item(stage) if self.item is None else self.item
            plan = Plan(past, stage_types(plugins), stored, stage, item)
        given = values_of(self.secrets, ()).items()
        config = Config(past.run.config, {name: str(value) for name, value in given})
        self._announce(plan, config)
        try:
            # What stages write in this process must not come between a script and the result.
            with redirect_stdout(sys.stdout if self.form == "table" else sys.stderr):
                value = asyncio.run(_computed(plan, config, plugins))
            payloads.dump(value, f"what stage {plan.stage!r} returned")  # as a server would
        except StageFailed as failed:
            self._tell(failed, past, plan)
            return FAILED
        except ResultNotPicklable as error:
            failure = Failure(type=type(error).__name__, message=str(error), stage=plan.stage)
            self._tell(StageFailed(failure.model_copy(update={"item": plan.item})), past, plan)
            return FAILED
        self._show(value, past, plan)
        return 0

    def _announce(self, plan: Plan, config: Config) -> None:
        run, failure = plan.past.run, plan.past.failure(plan.stage, plan.item)
        why = f", where it failed with {failure.type}: {failure.message}" if failure else ""
        note(f"replaying {_where(plan)} of run {run.name} ({run.workflow}){why}")
        for name, value in plan.known.items():
            note(f"  {name}: its result is taken as it was stored, {_kind(value)}")
        for name in plan.again:
            note(f"  {name}: computed again{'' if self.afresh else ', its result is not stored'}")
        if missing := config.missing:
            note(f"  {config.problem(missing)}")

    def _tell(self, failed: StageFailed, past: Past, plan: Plan) -> None:
        failure, before = failed.failure, past.failure(plan.stage, plan.item)
        note((failure.traceback or f"{failure.type}: {failure.message}").rstrip())
        again = before is not None and failure.stage == plan.stage and failure.type == before.type
        at = f"stage {failure.stage}" + ("" if failure.item is None else f", item {failure.item}")
        note(f"{at} failed {'again' if again else 'here'} with {failure.type}")
        if self.form != "table":
            dump({**self._facts(past, plan), "failure": failure.model_dump()}, self.form)
        if self.debug and failed.exception is not None:
            pdb.post_mortem(failed.exception.__traceback__)

    def _show(self, value: Any, past: Past, plan: Plan) -> None:
        if plan.item is not None:
            if not value:
                raise CommandError(f"there is no item {plan.item} of stage {plan.stage!r}")
            value = value[0]
        note(f"{_where(plan)} went well, and returned {_kind(value)}")
        text = to_json(value)
        if self.form != "table":
            return dump({**self._facts(past, plan), "result": json.loads(text)}, self.form)
        if len(text) > LONGEST:
            shown = as_text(value)
            return say(shown[:LONGEST] + (" ..." if len(shown) > LONGEST else ""))
        from flowdapt_cli.render import result

        return result(json.loads(text))

    def _facts(self, past: Past, plan: Plan) -> dict[str, Any]:
        return {"run": past.run.name, "stage": plan.stage, "item": plan.item}


class _Stored:
    """The results that a server has stored, loaded here.

    :param none: take none of them
    """

    def __init__(self, client: Client, run: Run, *, none: bool) -> None:
        self._client, self._run, self._none = client, run, none

    def __call__(self, stage: str) -> list[Any]:
        """Return the result of a stage as the only element, or nothing where it is not stored."""
        from flowdapt.client import Refused

        if self._none:
            return []
        try:
            block = self._client.runs.stage_result(self._run, stage)
        except Refused as error:
            if error.status == FORBIDDEN:
                note(f"stored results are not taken, because {error}")
                self._none = True
            elif error.status != NOT_FOUND:
                raise
            return []
        try:
            return [stored.loaded(block)]
        except Exception as error:  # such as a class that is not there, or is another one now
            note(f"the stored result of stage {stage} cannot be loaded here: {error!r}")
            return []


class SecretsClosed(StageError):
    """A stage asks for a config with secrets, and these are with the server alone."""


class Config:
    """The config of the run, see :class:`flowdapt.context.Sealed`.

    :param values: of secrets that it names, by name
    """

    def __init__(self, data: dict[str, Any], values: Mapping[str, str]) -> None:
        self._data, self._values = data, values
        names = _SECRET.findall(json.dumps(data, default=str))
        self.missing = sorted({*names} - {*values})

    def __call__(self) -> dict[str, Any]:
        """Return it with the secrets in place.

        :raises SecretsClosed: some of them are not known here
        """
        if self.missing:
            raise SecretsClosed(self.problem(self.missing))
        found: dict[str, Any] = self._replaced(self._data)
        return found

    def mask(self, text: str) -> str:
        """Return the text as it is: it is shown to who gave the secrets."""
        return text

    def problem(self, names: list[str]) -> str:
        """Say that secrets are not known here, and what can be done."""
        what = "secret" if len(names) == 1 else "secrets"
        return (
            f"the config of the run names the {what} {', '.join(names)}, and the server keeps "
            "secrets to itself: a stage that asks for the config fails here, unless their values "
            "are given with --secrets FILE"
        )

    def _replaced(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: self._replaced(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self._replaced(value) for value in data]
        if isinstance(data, str):
            return _SECRET.sub(lambda match: self._values[match[1]], data)
        return data


async def _computed(plan: Plan, config: Config, plugins: Plugins) -> Any:
    """Compute the stage and what it needs; return what it returns.

    :raises StageFailed: it raises, or a stage before it does
    """
    executor = plugins.resolve("executors", "inline")()
    storage = plugins.resolve("storages", "memory")()
    places = plugins.resolve("exports", "places")()
    facts = plan.past.run.model_dump(exclude=_NOT_OF_A_RUN)
    run = Run(**facts, state=RunState.RUNNING).model_copy(update={"only": plan.only()})
    await storage.add_run(run)

    async def seal(_: dict[str, Any]) -> Sealed:
        return config

    parts = storage, executor, plan.types
    walk = Walk(run, plan.workflow(), *parts, seal=seal, places=places)
    with tempfile.TemporaryDirectory(prefix="flowdapt-") as folder:
        await executor.start(Host(app_dir=Path(folder), places=places))
        try:
            return await executor.fetch((await walk.compute()).ref)
        finally:
            await executor.release(run.uid)
            await executor.stop()


def _import_from(folder: Path) -> None:
    if not folder.is_dir():
        raise CommandError(f"{folder} is no folder")
    sys.path.insert(0, str(folder))


def _where(plan: Plan) -> str:
    return f"stage {plan.stage}" + ("" if plan.item is None else f", item {plan.item}")


def _kind(value: Any) -> str:
    """Return what a value is, in a few words."""
    known = getattr(value, "nbytes", None)
    amount = f" of {size(known)}" if isinstance(known, int) else ""
    with suppress(TypeError):
        amount = amount or f" of {len(value):,}"
    return f"{type(value).__name__}{amount}"
