"""Any value as JSON text."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import random
import threading
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from flowdapt.texts import to_json

SHOUT = "\N{SNAIL} \0 grüß \N{PILE OF POO}"


def as_json(value: Any) -> Any:
    """Return what a client reads of a value."""
    return json.loads(to_json(value))


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
    "value", [None, True, False, 0, -(2**63), 2**64 - 1, 1.5, "", SHOUT, [], {}, [[{"a": [1]}]]]
)
def test_what_json_knows_is_itself(value: Any) -> None:
    assert as_json(value) == value


def test_random_values_are_themselves_in_json() -> None:
    values = list(random_values(seed=2, count=200))

    assert [as_json(value) for value in values] == values


def test_random_values_are_the_same_beside_one_that_json_has_no_place_for() -> None:
    values = list(random_values(seed=3, count=200))

    assert [as_json([value, 2**64])[0] for value in values] == values


Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Mood(str, enum.Enum):  # noqa: UP042 - the older kind is in use too
    GOOD = "good"


class Elsewhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=3)

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> str:
        return "elsewhere"


@dataclasses.dataclass
class Farm:
    name: str
    size: Any = None
    _secret: int = 1


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    at: datetime = datetime(2031, 4, 5, tzinfo=UTC)
    what: Any = None


class Words:
    def __str__(self) -> str:
        return "some words"


FORMS: list[tuple[Any, Any]] = [
    ((1, (2,)), [1, [2]]),
    ({1}, [1]),
    (frozenset("a"), ["a"]),
    (Point(1, 2), [1, 2]),
    (deque([1]), "deque([1])"),
    (range(3), "range(0, 3)"),
    (OrderedDict(a=1), {"a": 1}),
    (defaultdict(int, a=1), {"a": 1}),
    (datetime(2031, 4, 5, 6, 7, 8, 9), "2031-04-05T06:07:08.000009"),
    (datetime(2031, 4, 5, tzinfo=UTC), "2031-04-05T00:00:00+00:00"),
    (datetime(2031, 4, 5, tzinfo=timezone(timedelta(hours=-2))), "2031-04-05T00:00:00-02:00"),
    (datetime(2031, 4, 5, tzinfo=Elsewhere()), "2031-04-05T00:00:00+03:00"),
    (date(2031, 4, 5), "2031-04-05"),
    (time(6, 7), "06:07:00"),
    (time(6, 7, tzinfo=UTC), "06:07:00+00:00"),
    (timedelta(hours=1), "1:00:00"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"gr\xc3\xbcn", "grün"),
    (bytearray(b"a"), "a"),
    (memoryview(b"a"), "a"),
    (b"\xff", "\N{REPLACEMENT CHARACTER}"),
    (math.nan, None),
    (-math.inf, None),
    (2**64, "18446744073709551616"),
    (-(2**63) - 1, "-9223372036854775809"),
    (10**500, "1" + "0" * 500),
    ("half \ud800", "half ?"),
    (Decimal("1.50"), "1.50"),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Mood.GOOD, "good"),
    (Path("/a/b"), "/a/b"),
    (1 + 2j, "(1+2j)"),
    (Farm("f", size=math.nan), {"name": "f", "size": None}),
    (Farm("f", size=2**70), {"name": "f", "size": str(2**70)}),
    (Model(what={1}), {"at": "2031-04-05T00:00:00Z", "what": [1]}),
    (Model(what=2**70).what, str(2**70)),
    (Words(), "some words"),
    (Words, "<class 'test_payloads.Words'>"),
    (np.float32(0.5), 0.5),
    (np.float64(math.nan), None),
    (np.int64(5), 5),
    (np.uint8(5), 5),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.array(5), 5),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([0.5, math.inf]), [0.5, None]),
    (np.arange(9).reshape(3, 3)[::2, ::2], [[0, 2], [6, 8]]),
    (np.array(["a", "b"]), ["a", "b"]),
    (np.array([{"a": 1}, None], dtype=object), [{"a": 1}, None]),
    (np.array([1 + 2j]), ["(1+2j)"]),
]
NAMES = [repr(value).partition(" at 0x")[0][:40] for value, _ in FORMS]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=NAMES)
def test_everything_else_has_a_form(value: Any, form: Any) -> None:
    form = f"<class '{__name__}.Words'>" if value is Words else form

    assert as_json(value) == form


@pytest.mark.parametrize(("value", "form"), FORMS, ids=NAMES)
def test_it_has_the_same_form_beside_something_that_json_has_no_place_for(
    value: Any, form: Any
) -> None:
    form = f"<class '{__name__}.Words'>" if value is Words else form

    assert as_json({"odd": 2**70, "it": [value]}) == {"odd": str(2**70), "it": [form]}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1, "1"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        (math.nan, "null"),
        (True, "true"),
        (None, "null"),
        (date(2031, 4, 5), "2031-04-05"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Level.HIGH, "3"),
        ((1, "a"), "(1, 'a')"),
        (b"a", "a"),
        (frozenset([1]), "frozenset({1})"),
        ("\udfff", "?"),
        (np.int64(5), "5"),
        (Decimal("1.5"), "1.5"),
    ],
)
def test_keys_become_texts(key: Any, text: str) -> None:
    assert as_json({key: 1}) == {text: 1}
    assert as_json({key: 1, "odd": 2**70}) == {text: 1, "odd": str(2**70)}


def test_a_model_with_something_that_has_no_encoding_keeps_the_rest() -> None:
    form = as_json(Model(what=[threading.Lock(), 5]))

    assert form["what"][0].startswith("<unlocked _thread.lock object")
    assert form["what"][1] == 5


def test_an_object_that_fails_to_say_anything_is_named_by_its_type() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    class Broken:
        def model_dump(self, **_: Any) -> Any:
            raise RuntimeError("no model")

        def __str__(self) -> str:
            return "broken"

    assert as_json([Mute(), Broken()]) == ["<Mute that cannot be shown>", "broken"]
    assert as_json([Mute(), 2**70])[0] == "<Mute that cannot be shown>"


@pytest.mark.parametrize("depth", [100, 250, 1000, 20_000])
def test_what_is_nested_too_deeply_ends_as_text(depth: int) -> None:
    form = as_json(nested(depth))

    deep = 0
    while isinstance(form, list):
        (form,) = form
        deep += 1
    assert deep == depth if depth <= 250 else deep == 200
    assert form == "core" if depth <= 250 else form.startswith("[[[")


def test_what_holds_itself_ends_in_dots() -> None:
    ring: list[Any] = [1]
    ring += [ring, {"again": ring}]

    assert as_json(ring) == [1, "...", {"again": "..."}]


def test_a_tree_whose_nodes_know_their_parents_is_shown_once() -> None:
    root: dict[str, Any] = {"name": "root"}
    root["children"] = [{"name": i, "parent": root} for i in range(1000)]

    form = as_json(root)

    assert [child["name"] for child in form["children"]] == list(range(1000))
    assert all(child["parent"] == "..." for child in form["children"])


def test_a_mapping_keeps_every_key_of_its_own() -> None:
    value = {f"k{i}": [i, 2**64] for i in range(1000)}

    assert as_json(value) == {f"k{i}": [i, str(2**64)] for i in range(1000)}
