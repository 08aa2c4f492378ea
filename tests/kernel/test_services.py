"""Services on one exit stack: all up in order, or none; and down in reverse."""

from __future__ import annotations

from typing import Any

import pytest

from flowdapt.services import Service, serving

pytestmark = pytest.mark.anyio


class Noting(Service):
    """A service that notes what becomes of it."""

    def __init__(self, name: str, steps: list[str], *, fails: str = "") -> None:
        server: Any = None  # the services of these tests ask nothing of it
        super().__init__(server)
        self.name, self.steps, self.fails = name, steps, fails

    async def start(self) -> None:
        self._step("start")

    async def stop(self) -> None:
        self._step("stop")

    def _step(self, what: str) -> None:
        self.steps.append(f"{what} {self.name}")
        if self.fails == what:
            raise LookupError(f"{self.name} fails to {what}")


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    steps: list[str] = []

    async with serving([Noting(name, steps) for name in ("a", "b", "c")]):
        steps.append("serve")

    assert steps == ["start a", "start b", "start c", "serve", "stop c", "stop b", "stop a"]


async def test_one_that_fails_to_start_takes_the_others_down() -> None:
    steps: list[str] = []
    services = [Noting("a", steps), Noting("b", steps, fails="start"), Noting("c", steps)]

    with pytest.raises(LookupError, match="b fails to start"):
        async with serving(services):
            raise AssertionError("is not reached")

    assert steps == ["start a", "start b", "stop a"]


async def test_one_that_fails_to_stop_is_logged_and_the_others_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps: list[str] = []

    async with serving([Noting("a", steps), Noting("b", steps, fails="stop")]):
        pass

    assert steps == ["start a", "start b", "stop b", "stop a"]
    assert "service Noting did not stop cleanly" in caplog.text
    assert "LookupError: b fails to stop" in caplog.text


async def test_they_stop_when_what_they_serve_fails() -> None:
    steps: list[str] = []

    with pytest.raises(KeyError):
        async with serving([Noting("a", steps)]):
            raise KeyError

    assert steps == ["start a", "stop a"]


async def test_none_at_all_is_fine() -> None:
    async with serving([]):
        pass
