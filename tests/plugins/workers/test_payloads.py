"""Values as bytes."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from flowdapt_workers.payloads import ALIGNMENT, dump, load, pack, size

from flowdapt.errors import ResultNotPicklable

SHOUT = "\N{SNAIL} \0 grüß \N{PILE OF POO}"


def there_and_back(value: Any) -> Any:
    """Return a value as another process has it."""
    return load(pack(dump(value)))


def nested(depth: int) -> Any:
    """Return a list in a list, so many deep."""
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


def random_values(seed: int, count: int) -> Iterator[Any]:
    """Yield values of all the types that JSON knows, in and around each other."""
    chance = random.Random(seed)

    def one(depth: int) -> Any:
        kind = chance.randrange(8 if depth else 6)
        if kind == 6:
            return [one(depth - 1) for _ in range(chance.randrange(5))]
        if kind == 7:
            return {chance.choice(["a", "b", SHOUT]): one(depth - 1) for _ in range(3)}
        return (None, True, chance.randrange(-(2**53), 2**53), chance.random(), SHOUT, "")[kind]

    for _ in range(count):
        yield one(4)


@pytest.mark.parametrize(
    "value",
    [None, 1, 2**200, -0.0, SHOUT, b"", b"\xff" * 1000, (1, [2, {"a": {3}}]), [], {}, nested(100)],
)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert there_and_back(value) == value


def test_random_values_come_back_as_they_were() -> None:
    values = list(random_values(seed=1, count=200))

    assert [there_and_back(value) for value in values] == values


def test_the_memory_of_an_array_is_referred_to_and_not_copied() -> None:
    array = np.arange(1_000_000)

    head, *buffers = dump({"a": array})

    assert len(head) < 1000
    (buffer,) = buffers
    assert np.shares_memory(np.frombuffer(buffer, array.dtype), array)


def test_arrays_are_views_of_their_block_and_can_be_written_to() -> None:
    block = bytearray(pack(dump([np.zeros(1000), np.ones((10, 10), order="F")])))

    first, second = load(block)
    first[:] = 7

    assert np.shares_memory(first, np.frombuffer(block, np.uint8))
    assert load(block)[0].sum() == 7000
    assert second.flags.f_contiguous
    assert second.flags.writeable


def test_arrays_of_a_block_that_cannot_be_written_to_can_be_all_the_same() -> None:
    block = pack(dump(np.zeros(1000)))

    array = load(block)
    array[:] = 7

    assert load(block).sum() == 0


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1000])
def test_the_size_of_a_block_is_known_before_it_is_made(length: int) -> None:
    segments = dump([np.zeros(length, np.uint8), np.ones(length, np.uint8), b"x" * length])

    block = pack(segments)

    assert len(block) == size(segments)
    zeros, ones, text = load(block)
    assert (len(zeros), ones.sum(), text) == (length, length, b"x" * length)


def test_buffers_lie_on_boundaries_of_the_block() -> None:
    block = np.frombuffer(bytearray(pack(dump([np.ones(3, np.uint8), np.ones(5)]))), np.uint8)

    arrays = load(block.data)

    starts = [array.ctypes.data - block.ctypes.data for array in arrays]
    assert all(start % ALIGNMENT == 0 for start in starts)


def test_arrays_that_are_not_contiguous_come_back_too() -> None:
    array = np.arange(100).reshape(10, 10)[::2, 1::3]

    assert (there_and_back(array) == array).all()


def test_functions_that_have_no_import_path_go_by_value() -> None:
    factor = 3

    again = there_and_back([lambda x: x * factor])

    assert again[0](5) == 15


def test_classes_that_were_defined_in_a_function_go_by_value() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    assert there_and_back(Point(5)).x == 5


def test_arrays_beside_a_lambda_are_still_referred_to() -> None:
    _, *buffers = dump([lambda: 1, np.zeros(1000)])

    assert [buffer.nbytes for buffer in buffers] == [8000]


def test_what_a_script_defines_can_be_used_by_a_process_that_has_another_main(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        dedent("""
        import sys
        from flowdapt_workers.payloads import dump, pack

        class Point:
            x = 5

        def double(n):
            return 2 * n

        sys.stdout.buffer.write(pack(dump((Point(), double))))
        """)
    )

    block = subprocess.run([sys.executable, str(script)], capture_output=True, check=True).stdout

    point, double = load(block)
    assert (point.x, double(2)) == (5, 4)


# What cannot leave its process


@pytest.mark.parametrize(
    "wrap",
    [
        lambda culprit: culprit,
        lambda culprit: [1, culprit],
        lambda culprit: {"a": (1, [culprit])},
        lambda culprit: {"a": "b", "c": [{"d": culprit}]},
    ],
)
def test_what_cannot_be_pickled_is_named_by_its_type_wherever_it_is(
    wrap: Callable[[Any], Any],
) -> None:
    with pytest.raises(ResultNotPicklable) as caught:
        dump(wrap(threading.Lock()), "what stage 'load' returned")

    assert str(caught.value) == (
        "what stage 'load' returned cannot be pickled: _thread.lock: "
        "TypeError: cannot pickle '_thread.lock' object"
    )


def test_what_cannot_be_pickled_is_found_in_what_holds_itself() -> None:
    around: list[Any] = []
    around += [around, threading.Lock()]

    with pytest.raises(ResultNotPicklable, match=r": _thread\.lock: TypeError:"):
        dump(around)


def test_an_object_that_refuses_says_why() -> None:
    class Proud:
        def __reduce__(self) -> Any:
            raise RuntimeError("I stay here")

    with pytest.raises(ResultNotPicklable, match=r"Proud: RuntimeError: I stay here$"):
        dump({"it": Proud()})


def test_lists_too_deep_to_be_pickled_are_refused() -> None:
    with pytest.raises(ResultNotPicklable, match=r"^the value cannot be pickled: builtins.list: "):
        dump(nested(20_000))


def test_polars_values_come_back_with_their_types() -> None:
    import polars as pl
    from polars.testing import assert_frame_equal, assert_series_equal

    frame = pl.DataFrame(
        {
            "enum": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
            "category": pl.Series(["x", "y"], dtype=pl.Categorical),
            "large": pl.Series([2**100, 1], dtype=pl.Int128),
            "list": [[1], [2, 3]],
            "text": ["barn", None],
        }
    )

    for value in (frame, frame.select("text"), frame.select("list")):
        assert_frame_equal(load(pack(dump(value))), value)
    for name in frame.columns:
        loaded = load(pack(dump(frame[name])))
        assert_series_equal(loaded, frame[name])
