"""A collector that takes everything and keeps nothing. Argument: the port."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def application() -> Starlette:
    """Return an application that counts what it is sent."""
    counts = {"requests": 0, "bytes": 0}

    async def take(request: Request) -> Response:
        counts["requests"] += 1
        counts["bytes"] += len(await request.body())
        return Response()

    async def tell(request: Request) -> Response:
        return JSONResponse(counts)

    return Starlette(
        routes=[
            Route("/v1/{signal}", take, methods=["POST"]),
            Route("/", tell),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(
        application(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
    )
