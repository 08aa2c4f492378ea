"""A stage of a server's run is computed again, in a process of its own, with the code there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowdapt_client.clients import Client
from flowdapt_client.run_records import Run

from .conftest import Done
from .processes import Served, serving

SHOP = """
    import threading
    import time
    from flowdapt import call_workflow, get_run_context

    def load(n=4):
        print("loading", n)
        return {"n": n}

    def split(loaded):
        return list(range(loaded["n"]))

    def price(number):
        if number == 0:
            raise KeyError("zero")
        return number * 10

    def tax(amount, loaded):
        if amount == 20:
            raise ValueError(f"no tax on {amount}")
        return amount + loaded["n"]

    def both(taxed, prices):
        raise ArithmeticError(sum(prices))

    def slow():
        print("trying")
        time.sleep(0.4)
        raise ValueError("no time")

    def unkept(number):
        return threading.Lock()

    def asking():
        return call_workflow("nowhere")

    def secretive():
        raise RuntimeError(get_run_context().config["password"][::-1])
"""

WORKFLOWS = """
    kind: workflow
    metadata: {name: shop}
    spec:
      stages:
        - {name: load, target: user_modules.shop.load}
        - {name: split, target: user_modules.shop.split, depends_on: [load]}
        - {name: price, type: parameterized, target: user_modules.shop.price, depends_on: [split]}
        - name: tax
          type: parameterized
          target: user_modules.shop.tax
          depends_on: [price, load]
          options: {allow_partial_failure: false}
    ---
    kind: workflow
    metadata: {name: counted}
    spec:
      stages:
        - {name: load, target: user_modules.shop.load}
        - {name: split, target: user_modules.shop.split, depends_on: [load]}
        - {name: price, type: parameterized, target: user_modules.shop.price, depends_on: [split]}
        - {name: total, target: builtins.sum, depends_on: [price]}
        - name: both
          type: parameterized
          target: user_modules.shop.both
          depends_on: [price, price]
          options: {allow_partial_failure: false}
    ---
    kind: workflow
    metadata: {name: slow}
    spec:
      stages:
        - {name: slow, target: user_modules.shop.slow, options: {retries: 1, timeout: 0.2}}
    ---
    kind: workflow
    metadata: {name: unkept}
    spec:
      stages:
        - {name: split, target: user_modules.shop.load}
        - {name: unkept, type: parameterized, target: user_modules.shop.unkept, depends_on: [split]}
        - {name: end, target: user_modules.shop.both, depends_on: [unkept, unkept]}
    ---
    kind: workflow
    metadata: {name: asking}
    spec:
      stages: [{name: asking, target: user_modules.shop.asking}]
    ---
    kind: workflow
    metadata: {name: secretive}
    spec:
      stages: [{name: only, target: user_modules.shop.secretive}]
    ---
    kind: config
    metadata: {name: secretive}
    spec:
      selector: {type: name, value: secretive}
      data: {password: "$secret{shop-password}"}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with workflows whose runs fail."""
    folder = tmp_path_factory.mktemp("shop")
    with serving(folder) as served:
        (folder / "user_modules" / "shop.py").write_text(textwrap.dedent(SHOP))
        (folder / "shop.yaml").write_text(textwrap.dedent(WORKFLOWS))
        subprocess.run([*program(served), "apply", folder / "shop.yaml"], check=True)
        subprocess.run(
            [*program(served), "secrets", "set", "shop-password"], input=b"drowssap", check=True
        )
        yield served


def program(served: Served) -> list[str]:
    return [sys.executable, "-m", "flowdapt", "--server", served.address]


def failed(served: Served, workflow: str) -> Run:
    """Return a run that has failed."""
    with Client(served.address) as client:
        run = client.runs.run(workflow, {})
    assert run.state == "failed"
    return run


def replay(served: Served, run: Run, *options: str, folder: Path | None = None) -> Done:
    command = [*program(served), "dev", str(folder or served.app_dir), "--replay", run.name]
    done = subprocess.run(
        [*command, *options], input="p amount\nq\n", capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_element_that_failed_fails_again(shop: Served) -> None:
    run = failed(shop, "shop")

    done = replay(shop, run)

    assert done.status == 1
    assert f"replaying stage tax, item 2 of run {run.name} (shop), where it failed" in done.err
    assert "load: its result is taken as it was stored, dict of 1" in done.err
    assert "  price: computed again, its result is not stored\n" in done.err
    assert done.err.endswith(
        "ValueError: no tax on 20\nstage tax, item 2 failed again with ValueError\n"
    )


def test_nothing_of_a_replay_is_left_on_the_server(shop: Served) -> None:
    run = failed(shop, "shop")
    with Client(shop.address) as client:
        before = [run.uid for run in client.runs.list()]

    replay(shop, run)

    with Client(shop.address) as client:
        assert [run.uid for run in client.runs.list()] == before


def test_code_that_was_mended_succeeds_and_shows_what_it_returned(
    shop: Served, tmp_path: Path
) -> None:
    run = failed(shop, "shop")
    (tmp_path / "user_modules").mkdir()
    mended = textwrap.dedent(SHOP).replace("amount == 20", "amount < 0")
    (tmp_path / "user_modules" / "shop.py").write_text(mended)

    done = replay(shop, run, folder=tmp_path)

    assert (done.status, done.out) == (0, "24\n")
    assert done.err.endswith("stage tax, item 2 went well, and returned int\n")


def test_the_debugger_opens_where_it_raised(shop: Served) -> None:
    done = replay(shop, failed(shop, "shop"), "--debug")

    assert done.status == 1
    assert "-> raise ValueError" in done.out
    assert "(Pdb) 20\n" in done.out


def test_breakpoints_stop(shop: Served, tmp_path: Path) -> None:
    run = failed(shop, "shop")
    (tmp_path / "user_modules").mkdir()
    stopping = textwrap.dedent(SHOP).replace("    if amount", "    breakpoint()\n    if amount")
    (tmp_path / "user_modules" / "shop.py").write_text(stopping)

    done = replay(shop, run, folder=tmp_path)

    assert "-> if amount == 20:" in done.out
    assert "(Pdb) 20\n" in done.out


def test_it_takes_what_time_it_takes_and_is_tried_once(shop: Served) -> None:
    run = failed(shop, "slow")

    done = replay(shop, run)

    assert run.failure is not None
    assert run.failure.type == "TimeoutError"
    assert done.err.endswith("stage slow failed here with ValueError\n")
    assert (done.out + done.err).count("trying\n") == 1


def test_what_cannot_be_pickled_fails_here_too(shop: Served) -> None:
    done = replay(shop, failed(shop, "unkept"), "--stage", "unkept")

    assert done.status == 1
    assert "where it failed with ResultNotPicklable: " in done.err
    assert done.err.endswith("stage unkept, item 0 failed again with ResultNotPicklable\n")


def test_no_other_workflow_is_called(shop: Served) -> None:
    done = replay(shop, failed(shop, "asking"))

    assert "no server computes this stage: there is nobody to ask" in done.err
    assert done.err.endswith("stage asking failed again with WorkflowNotStarted\n")


def test_a_stage_and_an_element_can_be_named(shop: Served) -> None:
    done = replay(shop, failed(shop, "shop"), "--stage", "price", "--item", "3", "-o", "json")

    assert done.status == 0
    assert done.json() | {"run": ""} == {"run": "", "stage": "price", "item": 3, "result": 30}


def test_afresh_nothing_is_taken_that_is_stored(shop: Served) -> None:
    done = replay(shop, failed(shop, "shop"), "--stage", "split", "--afresh")

    assert done.status == 0
    assert "load: computed again\n" in done.err
    assert done.out.startswith("loading 4\n")


def test_an_element_has_its_place_where_others_before_it_are_left_out(shop: Served) -> None:
    done = replay(shop, failed(shop, "counted"), "--item", "3")

    assert done.status == 1
    assert "stage both, item 3 failed" in done.err
    assert "ArithmeticError: 60" in done.err  # all that the other one returns


def test_secrets_that_are_not_there_are_named(shop: Served) -> None:
    done = replay(shop, failed(shop, "secretive"))

    assert done.status == 1
    assert "names the secret shop-password, and the server keeps secrets to itself" in done.err
    assert "given with --secrets FILE" in done.err
    assert "Traceback" not in done.err


def test_secrets_can_be_given(shop: Served, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("shop-password: sesame\n")

    done = replay(shop, failed(shop, "secretive"), "--secrets", str(tmp_path / "values.yaml"))

    assert "RuntimeError: emases" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stage", "taxes"], "workflow 'shop' has no stage 'taxes' (did you mean 'tax'?)"),
        (["--stage", "load", "--item", "1"], "stage 'load' is not parameterized: leave out --item"),
        (["--item", "9"], "there is no item 9 of stage 'tax', which had 4"),
        (["--amount", "9"], "a replayed run has its workflow and its input already"),
    ],
)
def test_what_there_is_not_is_refused(shop: Served, options: list[str], said: str) -> None:
    done = replay(shop, failed(shop, "shop"), *options)

    assert done.status == 2
    assert said in done.err


def test_a_run_without_a_failure_wants_a_stage(shop: Served) -> None:
    subprocess.run([*program(shop), "apply", shop.resources], check=True)
    with Client(shop.address) as client:
        run = client.runs.run("fruit", {})

    done = replay(shop, run)

    assert done.status == 2
    assert f"no stage of run {run.name!r} failed (it is finished)" in done.err
    assert "name one with --stage: pick, weigh, basket" in done.err


def test_the_workflow_is_the_one_that_the_run_began_with(shop: Served) -> None:
    run = failed(shop, "shop")
    text = (shop.app_dir / "shop.yaml").read_text()
    (shop.app_dir / "changed.yaml").write_text(text.replace("shop.tax", "shop.price"))
    subprocess.run([*program(shop), "apply", shop.app_dir / "changed.yaml"], check=True)

    done = replay(shop, run)

    subprocess.run([*program(shop), "apply", shop.app_dir / "shop.yaml"], check=True)
    assert "ValueError: no tax on 20" in done.err
