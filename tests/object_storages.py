"""A server of object storage for tests: moto's, which answers like S3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import fsspec

# It ends with the process that started it, whatever becomes of that.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), sep=":", flush=True)
sys.stdin.read()
"""


@contextmanager
def serving() -> Iterator[dict[str, Any]]:
    """Run a server on a free port, and yield what fsspec's ``s3`` needs to reach it."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address, "the server did not start"
        yield {"key": "key", "secret": "secret", "endpoint_url": f"http://{address}"}


def new_bucket(parameters: dict[str, Any]) -> str:
    """Make a bucket of its own for a test."""
    bucket = f"bucket-{uuid4().hex}"
    fsspec.filesystem("s3", **parameters).mkdir(bucket)
    return bucket
