"""Another process over the same memory, which does what it is told: ``python -m`` this module."""

# ruff: noqa: S101 - suites are made of asserts, and start themselves

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import blake2b
from typing import Any, Self

from flowdapt_workers import payloads

from flowdapt.context import Address
from flowdapt.objects import Memory, attached


class Elsewhere:
    """A process that is attached to a memory.

    :param memory: whose address it is given
    """

    def __init__(self, memory: Memory) -> None:
        command = [sys.executable, "-m", __name__, *memory.address]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def do(self, what: str, *args: Any) -> Any:
        """Have something done, and return what comes of it; see :data:`DEEDS`."""
        self.begin(what, *args)
        assert self.process.stdout is not None
        kind, answer = json.loads(self.process.stdout.readline())
        if kind == "KeyError":
            raise KeyError(answer)
        assert kind == "ok", answer
        return answer

    def begin(self, what: str, *args: Any) -> None:
        """Have something done, and do not wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, *args]) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as nothing can be prepared for."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def block(size: int, seed: int) -> bytes:
    """Return a block that is no mixture: a digest, and that which it is of."""
    body = bytes([seed % 251]) * (size - 16)
    return blake2b(body, digest_size=16).digest() + body


def is_whole(found: memoryview | bytes) -> bool:
    """Tell whether a block is one of :func:`block`."""
    return blake2b(found[16:], digest_size=16).digest() == bytes(found[:16])


def put(memory: Memory, namespace: str, key: str, size: int, seed: int) -> None:
    """Put a block of :func:`block`."""
    memory.put(namespace, key, [block(size, seed)], size=size, type="bytes")


def put_many(memory: Memory, namespace: str, key: str, size: int, count: int) -> None:
    """Put one block after the other under one key."""
    for seed in range(count):
        put(memory, namespace, key, size, seed)


def get(memory: Memory, namespace: str, key: str) -> int:
    """Return the seed of a block."""
    found = memory.get(namespace, key)
    assert is_whole(found)
    return found[-1]


def get_many(memory: Memory, namespace: str, key: str, count: int) -> int:
    """Look at a block again and again; return how often it was a mixture."""
    return sum(not is_whole(memory.get(namespace, key)) for _ in range(count))


def hold(memory: Memory, namespace: str, key: str) -> int:
    """Keep a block in use from now on; return its size."""
    HELD.append(memory.get(namespace, key))
    return len(HELD[-1])


def held_is_whole(memory: Memory) -> bool:
    """Tell whether all that is kept in use still is what it was."""
    del memory
    return all(map(is_whole, HELD))


def value(memory: Memory, namespace: str, key: str) -> str:
    """Return the text of a value that was put as a payload."""
    return repr(payloads.load(memory.get(namespace, key), readonly=True))


def exists(memory: Memory, namespace: str, key: str) -> bool:
    """Tell whether there is a block."""
    return memory.exists(namespace, key)


def delete(memory: Memory, namespace: str, key: str) -> None:
    """Remove a block."""
    memory.delete(namespace, key)


HELD: list[memoryview] = []
DEEDS = {
    deed.__name__: deed
    for deed in (put, put_many, get, get_many, hold, held_is_whole, value, exists, delete)
}


def main(target: str, options: str) -> None:
    """Do what the lines on standard input say, and print what comes of it."""
    memory: Memory = attached(Address(target, options))
    for line in sys.stdin:
        what, *args = json.loads(line)
        try:
            answer = "ok", DEEDS[what](memory, *args)
        except Exception as error:
            answer = type(error).__name__, str(error)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
