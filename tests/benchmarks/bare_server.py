"""The floor of a run over HTTP: a POST that commits one row to SQLite, and nothing else.

Arguments: the database file, the port.
"""

import sqlite3
import sys
import uuid

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def application(path: str) -> Starlette:
    """Return an application over one SQLite file in WAL mode."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE runs (uid TEXT PRIMARY KEY, input BLOB)")

    async def post(request: Request) -> JSONResponse:
        uid = str(uuid.uuid4())
        db.execute("INSERT INTO runs VALUES (?, ?)", (uid, await request.body()))
        return JSONResponse({"uid": uid})

    return Starlette(routes=[Route("/", post, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
    )
