"""Secrets on their way through a run: opened in worker processes, and nowhere else to be seen."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flowdapt_secrets import keys
from flowdapt_secrets.sealed import SealedConfig
from flowdapt_workers.failures import reported

from flowdapt.context import WorkflowRunContext
from flowdapt.events import STAGE_CHANGED
from flowdapt.resources import Config
from flowdapt.runs import RunState
from tests.plugins.secrets.conftest import Desk, holding, stage

pytestmark = pytest.mark.anyio

TOKEN = "correct-horse-battery"
PEM = '-----BEGIN KEY-----\nMIIEvQ"IBADANBg\nkqhkiG9w0BAQEFA\n-----END KEY-----\n'
DATA = {"url": "https://me:$secret{TOKEN}@host", "keys": [{"pem": "$secret{PEM}"}], "n": 1}
MAPPED: dict[str, Any] = {"type": "parameterized", "options": {"map_on": "xs"}}

DIGESTS = """
    import hashlib
    from flowdapt import get_run_context

    def digest(text):
        return hashlib.sha256(text.encode()).hexdigest()

    def look():
        config = get_run_context().config
        return [digest(config["url"]), digest(config["keys"][0]["pem"]), config["n"]]

    def written():
        return get_run_context().run.config
"""

#: A stage that says all it knows in every way there is.
TALKS = """
    import json, logging, os, subprocess, sys, threading
    from flowdapt import get_run_context

    def token():
        return get_run_context().config["url"].partition("me:")[2].partition("@")[0]

    def tell():
        config = get_run_context().config
        url, pem = config["url"], config["keys"][0]["pem"]
        print("printed", url, config)
        print(json.dumps(pem))
        print(pem)
        print("in parts " + url[:12], end="")
        sys.stdout.write(url[12:] + " begun")
        print()
        logging.getLogger("mine").warning("logged %s", [pem, url])
        try:
            raise KeyError(url)
        except KeyError:
            logging.exception("with a traceback")
        thread = threading.Thread(target=print, args=("from a thread", url))
        thread.start()
        thread.join()
        os.write(2, f"past Python {url}\\n{pem}".encode())
        subprocess.run(["echo", "from a child", url], check=True)
        print(end="not ended " + url)

    def fail():
        tell()
        url = get_run_context().config["url"]
        try:
            raise LookupError(f"no {url}")
        except LookupError as error:
            error.add_note(get_run_context().config["keys"][0]["pem"])
            raise ValueError(f"cannot reach {url} with { {'token': token()} }") from error

    def talks(): fail()
    async def talks_later(): fail()
    def talks_each(x): fail()
    async def talks_each_later(x): fail()

    class Unfit:
        def __init__(self):
            self.token = token()
        def __reduce__(self):
            raise TypeError(f"not with {self.token}")

    def returns_unfit(): return Unfit()
    def returns_unfit_each(x): return Unfit() if x else 0

    def echo(text): print(os.getpid(), text)
"""

FORMS = (TOKEN, "MIIEvQ", "IBADANBg", "kqhkiG9w0BAQEFA")


async def store(desk: Desk) -> None:
    await desk.keeper.put("TOKEN", TOKEN)
    await desk.keeper.put("PEM", PEM)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Where they are opened


@pytest.mark.parametrize("executor", ["local", "inline"])
async def test_a_stage_finds_secrets_in_place(desk: Desk) -> None:
    desk.write(DIGESTS)
    await store(desk)
    await desk.apply(DATA, stage("look"))

    found = await desk.result()

    assert found == [digest(f"https://me:{TOKEN}@host"), digest(PEM), 1]


async def test_everywhere_else_the_text_stays_as_it_was_written(desk: Desk) -> None:
    desk.write(DIGESTS)
    await store(desk)
    await desk.apply(DATA, stage("written"))

    stored = await desk.run()

    assert json.loads(stored.result or b"") == DATA
    assert stored.run.config == DATA
    assert (await desk.server.engine.get_run(stored.run.uid)).run.config == DATA
    assert (await desk.server.engine.get(Config, "farm")).spec.data == DATA
    assert holding(desk.app_dir, *FORMS) == []


async def test_nothing_is_opened_for_stages_that_do_not_ask(desk: Desk) -> None:
    desk.write("""
        import sys
        from flowdapt import get_run_context

        def asks_not():
            return [get_run_context().namespace, "cryptography" in sys.modules]
    """)
    await store(desk)
    await desk.apply(DATA, stage("asks_not"))

    assert await desk.result() == ["default", False]


async def test_a_run_that_has_begun_keeps_the_values_that_it_began_with(desk: Desk) -> None:
    desk.write("""
        from pathlib import Path
        from flowdapt import get_run_context

        def waits(mark):
            while not Path(mark).exists():
                pass
            return get_run_context().config["n"]
    """)
    await desk.keeper.put("N", "first")
    await desk.apply({"n": "$secret{N}"}, stage("waits"))
    mark = desk.app_dir / "mark"
    begun = asyncio.Event()
    with desk.server.engine.events.listening(lambda _: begun.set(), STAGE_CHANGED):
        run = await desk.server.engine.submit("farm", {"mark": str(mark)})
        await asyncio.wait_for(begun.wait(), 30)

    await desk.keeper.put("N", "second")
    mark.touch()

    assert json.loads((await desk.server.engine.wait(run.uid)).result or b"") == "first"
    assert await desk.result(mark=str(mark)) == "second"


# What is said where they are not there


async def test_a_run_whose_config_names_a_missing_secret_fails_at_once(desk: Desk) -> None:
    desk.write(DIGESTS)
    await desk.keeper.put("TOKEN", TOKEN)
    await desk.apply({"a": [{"b": "$secret{TOKN}"}], "c": "x $secret{PEM}"}, stage("look"))

    stored = await desk.run()

    assert stored.run.state is RunState.FAILED
    assert stored.run.failure is not None
    assert stored.run.failure.type == "SecretNotSet"
    assert stored.run.failure.message == (
        "config key 'a.0.b' names the secret 'TOKN', which is not set (did you mean 'TOKEN'?); "
        "config key 'c' names the secret 'PEM', which is not set"
    )
    assert await desk.server.engine.stages(stored.run.uid) == []


async def test_a_secret_may_be_set_after_the_config(desk: Desk) -> None:
    desk.write(DIGESTS)
    await desk.apply(DATA, stage("look"))

    await store(desk)

    assert (await desk.result())[2] == 1


async def test_a_worker_with_another_key_says_what_to_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(DIGESTS)
    await store(desk)
    (desk.app_dir / keys.FILE).write_bytes(Fernet.generate_key())
    await desk.apply(DATA, stage("look"))

    failure = (await desk.run()).run.failure

    assert failure is not None
    assert failure.type == "KeyUnusable"
    assert failure.message.startswith("secret 'TOKEN' cannot be opened with the keys in the key fi")
    assert failure.stage == "look"


async def test_a_worker_without_a_key_says_what_to_do(desk: Desk) -> None:
    desk.write(DIGESTS)
    await store(desk)
    (desk.app_dir / keys.FILE).unlink()
    await desk.apply(DATA, stage("look"))

    failure = (await desk.run()).run.failure

    assert failure is not None
    assert failure.type == "KeyMissing"
    assert f"put back {desk.app_dir / keys.FILE} from a backup" in failure.message


# What is masked


def check(desk: Desk, text: str) -> None:
    """Hold what was told to what may be told."""
    assert "***" in text
    assert not any(form in text for form in FORMS), text
    assert (desk.app_dir / keys.FILE).read_text().strip() not in text


@pytest.mark.parametrize(
    "only",
    [
        stage("talks"),
        stage("talks_later"),
        stage("talks_each", **MAPPED),
        stage("talks_each_later", **MAPPED),
    ],
    ids=lambda only: only["name"],
)
async def test_nothing_that_leaves_a_worker_as_text_holds_a_secret(
    desk: Desk, only: dict[str, Any]
) -> None:
    desk.write(TALKS)
    await store(desk)
    await desk.apply(DATA, only)

    stored = await desk.run(xs=[1, 2, 3])

    (record,) = await desk.server.engine.stages(stored.run.uid)
    failures = [failure for failure in (record.failure, *record.failures) if failure]
    assert len(failures) == (3 if "each" in only["name"] else 1)
    for failure in failures:
        assert failure.message == "cannot reach https://me:***@host with {'token': '***'}"
        assert "LookupError: no https://me:***@host\n***\n" in failure.traceback
        check(desk, failure.traceback)
    said = "\n".join(await desk.messages(stored))
    for begun in ("printed", "in parts", "logged", "with a traceback", "from a thread"):
        assert begun in said
    assert "not ended https://me:***@host" in said
    if "later" not in only["name"]:  # it cannot be told whose it is where several wait at once
        assert "past Python https://me:***@host" in said
        assert "from a child https://me:***@host" in said
    check(desk, said)
    assert holding(desk.app_dir, *FORMS) == []


@pytest.mark.parametrize(
    "only",
    [stage("returns_unfit"), stage("returns_unfit_each", **MAPPED)],
    ids=lambda only: only["name"],
)
async def test_what_cannot_be_pickled_is_told_of_without_secrets(
    desk: Desk, only: dict[str, Any]
) -> None:
    desk.write(TALKS)
    await store(desk)
    await desk.apply(DATA, only)

    stored = await desk.run(xs=[0, 1])

    (record,) = await desk.server.engine.stages(stored.run.uid)
    (failure,) = [failure for failure in (record.failure, *record.failures) if failure]
    assert failure.message.endswith("TypeError: not with ***")
    assert holding(desk.app_dir, *FORMS) == []


@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("target", ["talks", "talks_later", "talks_each"])
async def test_failures_are_masked_where_stages_run_in_the_server_too(
    desk: Desk, target: str
) -> None:
    desk.write(TALKS)
    await store(desk)
    options = {"map_on": "xs", "allow_partial_failure": False}
    facts = {"type": "parameterized", "options": options} if "each" in target else {}
    await desk.apply(DATA, stage(target, **facts))

    failure = (await desk.run(xs=[1])).run.failure

    assert failure is not None
    assert failure.message == "cannot reach https://me:***@host with {'token': '***'}"
    check(desk, failure.traceback)
    assert holding(desk.app_dir, *FORMS) == []


@pytest.mark.parametrize("cpus", [1])
async def test_masks_end_with_their_run(desk: Desk) -> None:
    desk.write(TALKS)
    await store(desk)
    await desk.apply(DATA, stage("talks"))
    await desk.run()
    await desk.apply({}, stage("echo"))

    stored = await desk.run(text=f"it is {TOKEN}")

    (record,) = await desk.server.engine.stages(stored.run.uid)
    pid = str(record.worker).removeprefix("process ")
    assert await desk.messages(stored) == [f"{pid} it is {TOKEN}"]


async def test_an_exception_is_handed_on_itself_unless_it_holds_a_secret(tmp_path: Path) -> None:
    keys.make(file := tmp_path / keys.FILE)
    token = keys.found(file).seal("TOKEN", TOKEN)
    context = WorkflowRunContext(
        config=SealedConfig({"t": "$secret{TOKEN}"}, {"TOKEN": token}, file)
    )

    before = reported(ValueError(TOKEN), context)
    assert context.config == {"t": TOKEN}
    after = reported(ValueError(f"<{TOKEN}>"), context)
    other = reported(ValueError("fine"), context)

    assert before[1] is not None
    assert after[1] is None
    assert after[0]["message"] == "<***>"
    assert other[1] is not None
