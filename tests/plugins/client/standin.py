"""A small server that behaves as the interface says, and does what a test wants when it wants it.

Real sockets and a real event loop, in a thread of its own; what it keeps, it keeps in lists.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from flowdapt.events import RUN_FINISHED, RUN_STARTED, STAGE_CHANGED

COLLECTIONS = {"workflows": "workflow", "configs": "config"}


def now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


class Refusal(Exception):
    def __init__(self, status: int, detail: str, **more: Any) -> None:
        self.status, self.body = status, {"detail": detail, "status_code": status, **more}


class StandIn:
    """What the server keeps, and the means to change it from a test."""

    def __init__(self) -> None:
        self.address = ""
        self.token = ""
        self.seen: list[Request] = []  #: requests, in order
        self.runs: list[dict[str, Any]] = []
        self.stages: dict[str, list[dict[str, Any]]] = {}
        self.blocks: dict[str, list[dict[str, Any]]] = {}
        self.failed_items: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.secrets: dict[str, str] = {}
        self.entries: list[dict[str, Any]] = []
        self.revisions: dict[str, list[dict[str, Any]]] = {}
        self.streams = 0  #: that were opened
        self.without_streams = False
        self.over = False  #: whoever connects again is told that there is no more
        self.draining = False
        self._cuts = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._lock = threading.Condition()

    # What a test does ------------------------------------------------------------------------

    def tell(self, kind: str, data: Any, *, kept: bool = True) -> None:
        """Have something happened."""
        event = {
            "position": len(self.events) + 1 if kept else None,
            "id": str(uuid4()),
            "time": now(),
            "type": kind,
            "channel": "workflows",
            "source": "compute",
            "headers": {},
            "subject": None,
            "data": data,
        }
        with self._lock:
            self.events.append(event)
        self._wake()

    def begin(self, workflow: str = "fruit", **facts: Any) -> dict[str, Any]:
        """Have a run begun."""
        run = {
            "uid": str(uuid4()),
            "name": f"calm-heron-{len(self.runs):08x}",
            "workflow": workflow,
            "input": {},
            "config": {},
            "state": "running",
            "started_at": now(),
            "finished_at": None,
            "failure": None,
            "result_bytes": 0,
            **facts,
        }
        self.runs.append(run)
        self.stages[run["uid"]], self.blocks[run["uid"]] = [], []
        self.tell(RUN_STARTED, self._brief(run))
        return run

    def stage(self, run: dict[str, Any], name: str, *, kept: bool = True, **facts: Any) -> None:
        """Have a stage of a run gone on."""
        records = self.stages[run["uid"]]
        known = next((record for record in records if record["stage"] == name), None)
        if known is None:
            known = {"stage": name, "state": "running", "started_at": now(), "attempts": 1}
            records.append(known)
        known |= facts
        data = {**known, "run": run["uid"], "workflow": run["workflow"]}
        self.tell(STAGE_CHANGED, data, kept=kept)

    def log(self, run: dict[str, Any], stage: str, *messages: str) -> None:
        """Have a stage of a run write something."""
        blocks = self.blocks[run["uid"]]
        lines = [{"time": now(), "stream": "stdout", "message": message} for message in messages]
        blocks.append({"position": len(blocks) + 1, "stage": stage, "lines": lines})
        self._wake()

    def end(self, run: dict[str, Any], state: str = "finished", **facts: Any) -> None:
        """Have a run ended."""
        run |= {"state": state, "finished_at": now(), **facts}
        self.tell(RUN_FINISHED, self._brief(run))

    def cut(self) -> None:
        """Break all streams off in the middle."""
        self._cuts += 1
        self._wake()

    def wait_for_streams(self, count: int) -> None:
        """Wait until so many streams were opened in all."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.streams >= count, timeout=30)

    def _wake(self) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(self._changed.set)

    @staticmethod
    def _brief(run: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in run.items() if key not in ("input", "config")}

    # What clients ask ------------------------------------------------------------------------

    def app(self) -> Starlette:
        one, of_run = "/{collection}/{name}", "/workflows/run/{run}"
        routes: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "/status", self._status),
            ("POST", "/drain", lambda r: self._drain(True)),
            ("DELETE", "/drain", lambda r: self._drain(False)),
            ("GET", "/events", self._events),
            ("GET", "/audit", self._audit),
            ("GET", "/secrets/", self._list_secrets),
            ("PUT", "/secrets/{name}", self._set_secret),
            ("DELETE", "/secrets/{name}", self._delete_secret),
            ("GET", "/runs/", self._runs),
            ("POST", "/workflows/{name}/run", self._start),
            ("GET", of_run, self._run),
            ("GET", f"{of_run}/stages", lambda r: self.stages[self._run(r)["uid"]]),
            ("GET", f"{of_run}/items", self._items),
            ("GET", f"{of_run}/events", self._events_of_run),
            ("GET", f"{of_run}/logs", self._logs),
            ("POST", f"{of_run}/cancel", self._cancel),
            ("POST", f"{of_run}/retry", self._retry),
            ("GET", "/{collection}/", self._list),
            ("POST", "/{collection}/", self._create),
            ("GET", one, self._get),
            ("PUT", one, self._replace),
            ("DELETE", one, self._delete),
            ("GET", f"{one}/history", self._history),
            ("POST", f"{one}/rollback", self._rollback),
        ]
        return Starlette(
            routes=[Route(path, self._endpoint(call), methods=[m]) for m, path, call in routes],
            exception_handlers={404: self._nothing},
        )

    def _endpoint(self, call: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            self.seen.append(request)
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                return JSONResponse({"detail": "no valid token", "status_code": 401}, 401)
            await request.body()
            try:
                answer = call(request)
            except Refusal as refusal:
                return JSONResponse(refusal.body, refusal.status)
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        return endpoint

    async def _nothing(self, request: Request, _: Exception) -> Response:
        detail = f"there is nothing at {request.url.path}"
        return JSONResponse({"detail": detail, "status_code": 404}, 404)

    def _status(self, _: Request) -> Any:
        compute = {"status": "OK", "executor": "local", "environment": {"cpus": 2}}
        return {
            "version": "1.0.0",
            "name": "flowdapt.stand-in",
            "draining": self.draining,
            "system": {"memory": 2**20, "pid": 1},
            "os": {"name": "Linux"},
            "python": "3.11",
            "hostname": "here",
            "services": {"ComputeService": compute},
            "database": "memory",
        }

    def _drain(self, draining: bool) -> Any:
        self.draining = draining
        return {"draining": draining}

    def _audit(self, request: Request) -> Any:
        after, actor = int(request.query_params["after"]), request.query_params.get("actor")
        found = [e for e in self.entries if e["position"] > after and actor in (None, e["actor"])]
        return {"entries": found[:2], "next": found[:2][-1]["position"] if found else None}

    def _list_secrets(self, _: Request) -> Any:
        return [{"name": n, "created_at": now(), "updated_at": now()} for n in self.secrets]

    def _set_secret(self, request: Request) -> Any:
        self.secrets[request.path_params["name"]] = json.loads(request._body)["value"]
        return Response(status_code=204)

    def _delete_secret(self, request: Request) -> Any:
        if self.secrets.pop(request.path_params["name"], None) is None:
            raise Refusal(404, "no such secret")
        return Response(status_code=204)

    # Runs ------------------------------------------------------------------------------------

    def _runs(self, request: Request) -> Any:
        query = request.query_params
        states = [s for given in query.getlist("state") for s in given.split(",")]
        found = [
            self._brief(run)
            for run in reversed(self.runs)
            if query.get("workflow") in (None, run["workflow"])
            and (not states or run["state"] in states)
            and run["started_at"] >= query.get("since", "")[:26]
        ]
        begin = int(query.get("cursor", 0))
        end = begin + min(2, int(query["limit"]))  # short pages, so that tests turn them
        return {"runs": found[begin:end], "next": str(end) if end < len(found) else None}

    def _run(self, request: Request) -> dict[str, Any]:
        name = request.path_params["run"]
        for run in self.runs:
            if name in (run["name"], run["uid"]):
                return run
        raise Refusal(404, f"no workflow_run named {name!r}")

    def _start(self, request: Request) -> Any:
        name = request.path_params["name"]
        known = next((r for r in self.revisions if name in self._keys(r)), None)
        if known is None:
            raise Refusal(404, f"no workflow named {name!r}")
        return self.begin(known.partition("/")[2], input=json.loads(request._body or b"{}"))

    def _items(self, request: Request) -> Any:
        self._run(request)
        begin = int(request.query_params.get("after", 0))
        more = begin + 2 < len(self.failed_items)
        return {"items": self.failed_items[begin : begin + 2], "next": begin + 2 if more else None}

    def _cancel(self, request: Request) -> Any:
        run = self._run(request)
        self.end(run, "cancelled")
        return run

    def _retry(self, request: Request) -> Any:
        old = self._run(request)
        self.seen_items = request.query_params["items"]
        return self.begin(old["workflow"], retry_of=old["uid"])

    # Streams ---------------------------------------------------------------------------------

    def _streams(self, request: Request, parts: Callable[[int], Iterator[str | None]]) -> Response:
        """Answer with a stream: what there is, and what comes until a part is ``None``."""
        if self.without_streams:
            raise Refusal(404, f"there is nothing at {request.url.path}")
        if self.over:
            return Response(status_code=204)
        given = request.headers.get("last-event-id", request.query_params.get("after", "-1"))

        async def stream() -> AsyncIterator[str]:
            cuts, sent = self._cuts, parts(int(given))
            with self._lock:
                self.streams += 1
                self._lock.notify_all()
            yield ": here\n\n"
            while True:
                self._changed.clear()
                for part in sent:
                    if part is None:
                        return
                    if part == "":
                        break
                    yield part
                if self._cuts > cuts:
                    raise ConnectionError("cut")
                await self._changed.wait()

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _told(self, begin: int, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[str | None]:
        done = begin
        while True:
            for event in self.events[done:]:
                done += 1
                if wanted(event):
                    position = event["position"]
                    mark = f"id: {position}\n" if position else ""
                    yield f"{mark}event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            yield ""

    def _events(self, request: Request) -> Any:
        query = request.query_params
        types, workflow = query.getlist("type"), query.get("workflow")

        def wanted(event: dict[str, Any]) -> bool:
            data = event["data"] if isinstance(event["data"], dict) else {}
            mine = workflow in (None, data.get("workflow"))
            return mine and (not types or event["type"] in types)

        if "event-stream" in request.headers["accept"]:
            present = len(self.events)
            return self._streams(
                request, lambda after: self._told(present if after < 0 else after, wanted)
            )
        after = int(query["after"])
        found = [e for e in self.events if (e["position"] or 0) > after and wanted(e)][:2]
        return {"events": found, "next": found[-1]["position"] if found else after}

    def _events_of_run(self, request: Request) -> Any:
        run = self._run(request)

        def wanted(event: dict[str, Any]) -> bool:
            return run["uid"] in (event["data"].get("uid"), event["data"].get("run"))

        def parts(after: int) -> Iterator[str | None]:
            for part in self._told(max(0, after), wanted):
                yield part
                if part and RUN_FINISHED in part:
                    yield None

        return self._streams(request, parts)

    def _logs(self, request: Request) -> Any:
        run = self._run(request)
        blocks = self.blocks[run["uid"]]
        if "event-stream" not in request.headers["accept"]:
            after = int(request.query_params["after"])
            return {"blocks": blocks[after:], "next": max(after, len(blocks))}

        def parts(after: int) -> Iterator[str | None]:
            done = max(0, after)
            while True:
                for block in blocks[done:]:
                    done += 1
                    yield f"id: {done}\nevent: log\ndata: {json.dumps(block)}\n\n"
                if run["state"] not in ("pending", "running"):
                    yield f"event: end\ndata: {json.dumps(run)}\n\n"
                    yield None
                yield ""

        return self._streams(request, parts)

    # Resources -------------------------------------------------------------------------------

    def _key(self, request: Request) -> str:
        collection, name = request.path_params["collection"], request.path_params["name"]
        for key in self.revisions:
            if key.startswith(f"{collection}/") and name in self._keys(key):
                return key
        raise Refusal(404, f"no {COLLECTIONS.get(collection)} named {name!r}")

    def _keys(self, key: str) -> tuple[str, str]:
        metadata = self.revisions[key][-1]["resource"]["metadata"]
        return metadata["name"], metadata["uid"]

    def put(self, resource: dict[str, Any], change: str = "changed") -> dict[str, Any]:
        """Keep a resource, as the next revision of what has its name."""
        collection = next(c for c, kind in COLLECTIONS.items() if kind == resource["kind"])
        key = f"{collection}/{resource['metadata']['name']}"
        revisions = self.revisions.setdefault(key, [])
        old = revisions[-1]["resource"]["metadata"] if revisions else {}
        metadata = {
            "annotations": {},
            **resource["metadata"],
            "uid": old.get("uid", str(uuid4())),
            "created_at": old.get("created_at", now()),
            "updated_at": now(),
            "generation": len(revisions) + 1,
        }
        kept = {**resource, "metadata": metadata}
        revisions.append(
            {
                "generation": len(revisions) + 1,
                "time": now(),
                "actor": "ada",
                "change": change if revisions else "created",
                "resource": kept,
            }
        )
        self.tell(f"com.event.resource.{revisions[-1]['change']}", {"kind": resource["kind"]})
        return kept

    def _latest(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.revisions[key][-1]["resource"]
        return found

    def _list(self, request: Request) -> Any:
        collection = f"{request.path_params['collection']}/"
        if request.query_params.get("watch"):
            present = len(self.events)
            return self._streams(
                request,
                lambda after: self._told(
                    max(present, after), lambda e: e["type"].startswith("com.event.resource")
                ),
            )
        return [self._latest(key) for key in self.revisions if key.startswith(collection)]

    def _get(self, request: Request) -> Any:
        return self._latest(self._key(request))

    def _stored(self, request: Request, resource: dict[str, Any]) -> Any:
        if request.query_params.get("dryRun") != "All":
            return self.put(resource)
        before = {key: [*revisions] for key, revisions in self.revisions.items()}
        try:
            return self.put(resource)
        finally:
            self.revisions = before

    def _create(self, request: Request) -> Any:
        kind = COLLECTIONS[request.path_params["collection"]]
        return self._stored(request, {"kind": kind, **json.loads(request._body)})

    def _check(self, request: Request) -> dict[str, Any]:
        found = self._latest(self._key(request))
        wanted = request.headers.get("if-match")
        if wanted not in (None, f'"{found["metadata"]["generation"]}"'):
            errors = [{"loc": ["spec", "data"], "msg": "differs", "type": "changed"}]
            raise Refusal(409, "it was changed meanwhile", errors=errors)
        return found

    def _replace(self, request: Request) -> Any:
        found = self._check(request)
        return self._stored(request, {"kind": found["kind"], **json.loads(request._body)})

    def _delete(self, request: Request) -> Any:
        found = self._check(request)
        if request.query_params.get("dryRun") != "All":
            del self.revisions[self._key(request)]
        return found

    def _history(self, request: Request) -> Any:
        return self.revisions[self._key(request)]

    def _rollback(self, request: Request) -> Any:
        revisions = self.revisions[self._key(request)]
        to = int(request.query_params.get("to", len(revisions) - 1))
        return self.put(revisions[to - 1]["resource"])


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """Have a stand-in listen until the context ends."""
    stand_in, ready = StandIn(), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    stand_in.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(stand_in.app(), log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    async def serve() -> None:
        stand_in._loop = asyncio.get_running_loop()
        ready.set()
        await server.serve([listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield stand_in
    finally:
        server.should_exit = True
        stand_in.cut()
        thread.join(30)
        listening.close()
