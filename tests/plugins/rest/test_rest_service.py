"""The service, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flowdapt_rest.service import RestService, listening

from flowdapt import __version__
from flowdapt.errors import ServerError

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(server: Server, workflows: httpx.AsyncClient) -> AsyncIterator[RestService]:
    """The service of a server that has workflows, started and stopped."""
    made = RestService(server)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def remote(service: RestService) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.server.addresses["rest"]) as made:
        yield made


async def test_it_answers_where_it_says(remote: httpx.AsyncClient) -> None:
    response = await remote.get("/")

    assert response.json()["app"] == "flowdapt"
    assert response.headers["server"] == f"flowdapt-{__version__}"
    assert "date" in response.headers


async def test_it_reports_the_port_that_it_was_given(service: RestService) -> None:
    host, _, port = service.server.addresses["rest"].rpartition(":")

    assert host == "http://127.0.0.1"
    assert int(port) > 0


async def test_a_taken_port_is_named_with_advice(service: RestService) -> None:
    port = int(service.server.addresses["rest"].rpartition(":")[2])

    with pytest.raises(ServerError) as error:
        listening("127.0.0.1", port)

    assert f"127.0.0.1:{port}" in str(error.value)
    assert "taken" in str(error.value)
    assert "--override rpc.api.port=N" in str(error.value)


async def test_an_address_of_another_machine_is_named_with_advice() -> None:
    with pytest.raises(ServerError, match=r"192\.0\.2\.1:0.*rpc\.api\.host"):
        listening("192.0.2.1", 0)


async def test_the_port_is_free_again_once_it_has_stopped(server: Server) -> None:
    first = RestService(server)
    await first.start()
    port = int(server.addresses["rest"].rpartition(":")[2])
    async with httpx.AsyncClient() as client:
        await client.get(server.addresses["rest"])
        await first.stop()

    listening("127.0.0.1", port).close()

    assert server.addresses == {}


async def test_it_listens_on_ipv6_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        listener = listening("::1", 0)
    except ServerError as error:
        pytest.skip(str(error))
    assert listener.getsockname()[0] == "::1"
    listener.close()


async def test_a_connection_serves_many_requests(remote: httpx.AsyncClient) -> None:
    streams = set()
    for _ in range(3):
        response = await remote.get("/")
        streams.add(id(response.extensions["network_stream"]))
        assert response.headers.get("connection") != "close"

    assert len(streams) == 1


async def test_connections_stay_open_well_beyond_five_seconds(service: RestService) -> None:
    assert service._uvicorn.config.timeout_keep_alive >= 60


async def test_signals_stay_the_business_of_the_program(service: RestService) -> None:
    import signal

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_client_that_goes_away_while_waiting_does_not_stop_the_run(
    remote: httpx.AsyncClient, server: Server, stages: Any
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await remote.post("/workflows/waiting/run", timeout=0.05)
    (open_run,) = (await remote.get("/workflows/waiting/run")).json()

    stages.gate.set()
    ended = await server.engine.get_run(open_run["uid"])
    if not ended.run.state.final:
        ended = await server.engine.wait(ended.run.uid)

    assert ended.run.state == "finished"


async def test_a_stopping_service_tells_those_who_wait_for_a_run(
    server: Server, workflows: httpx.AsyncClient, stages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service = RestService(server)
    await service.start()
    async with httpx.AsyncClient(base_url=server.addresses["rest"]) as client:
        waiting = asyncio.create_task(client.post("/workflows/waiting/run"))
        await stages.reached.wait()

        await service.stop()

        response = await waiting
    assert response.status_code == 503
    assert response.json()["status_code"] == 503
    assert "the server stops, and run '" in response.json()["detail"]
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_a_slow_client_costs_only_its_own_connection(
    remote: httpx.AsyncClient, service: RestService
) -> None:
    host, _, port = service.server.addresses["rest"].removeprefix("http://").rpartition(":")
    _, slow = await asyncio.open_connection(host, int(port))
    slow.write(b"POST /configs/ HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    await slow.drain()

    answers = await asyncio.gather(*(remote.get("/") for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    slow.close()
    await slow.wait_closed()


async def test_a_slow_client_holds_up_a_stop_for_a_limited_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_rest.service.STOP_SECONDS", 0.01)
    service = RestService(server)
    await service.start()
    host, _, port = server.addresses["rest"].removeprefix("http://").rpartition(":")
    _, slow = await asyncio.open_connection(host, int(port))
    slow.write(b"POST /configs/ HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    async with httpx.AsyncClient(base_url=server.addresses["rest"]) as other:
        await other.get("/")  # by now the slow request has begun

        async with asyncio.timeout(1):
            await service.stop()

    slow.close()
    await slow.wait_closed()


@pytest.fixture
def small_bodies(overrides: list[str]) -> None:
    overrides.append("rpc.api.max_body=100000")


@pytest.mark.usefixtures("small_bodies")
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_that_sends_too_much_reads_why(
    remote: httpx.AsyncClient, chunked: bool
) -> None:
    size = 20_000_000

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size // 1_000_000):
            yield b"x" * 1_000_000

    response = await remote.post("/configs/", content=parts() if chunked else b"x" * size)

    assert response.status_code == 413
    assert response.json()["status_code"] == 413
