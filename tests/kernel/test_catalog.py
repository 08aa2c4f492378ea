"""What is applied, as its history tells of it, and changes that are only tried."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flowdapt_embedded.memory import MemoryStorage

from flowdapt import events
from flowdapt.catalog import Catalog
from flowdapt.errors import (
    FlowdaptError,
    InvalidResource,
    ResourceChanged,
    ResourceExists,
    ResourceNotFound,
)
from flowdapt.events import RESOURCES, Event
from flowdapt.resources import KINDS, Config
from flowdapt.storage import EventQuery

pytestmark = pytest.mark.anyio

Change = Callable[..., Awaitable[Any]]


def a_config(name: str = "c", **data: Any) -> dict[str, Any]:
    """Return a config."""
    return {"kind": "config", "metadata": {"name": name}, "spec": {"data": data}}


class Tellers:
    """A catalogue, and what it told."""

    def __init__(self) -> None:
        self.catalog = Catalog(MemoryStorage(), KINDS)
        self.heard: list[Event] = []

    async def kept(self) -> list[dict[str, Any]]:
        """Return the events that were kept."""
        page = await self.catalog.storage.read_events(EventQuery())
        return [json.loads(text) for text in page.entries.values()]


@pytest.fixture
async def told() -> Any:
    """A catalogue with a config ``c``, of which nothing was told yet."""
    told = Tellers()
    with told.catalog.events.listening(told.heard.append):
        await told.catalog.create(Config, a_config(a=1))
        told.heard.clear()
        yield told


# History


async def test_each_change_is_kept_with_the_resource_as_it_became(told: Tellers) -> None:
    catalog = told.catalog

    await catalog.replace(Config, "c", a_config("d", a=2))
    deleted = await catalog.delete(Config, "d")

    created, *changes = await told.kept()
    for event in (created, *changes):
        assert (event["channel"], event["source"]) == (RESOURCES, "catalog")
        assert event["subject"] == f"config/{deleted.metadata.uid}"
        assert event["data"]["kind"] == "config"
        assert event["data"]["uid"] == str(deleted.metadata.uid)
    facts = [(e["type"], e["data"]["name"], e["data"]["generation"]) for e in (created, *changes)]
    assert facts == [
        (events.RESOURCE_CREATED, "c", 1),
        (events.RESOURCE_CHANGED, "d", 2),
        (events.RESOURCE_DELETED, "d", 2),
    ]
    states = [event["data"]["resource"]["spec"]["data"] for event in (created, *changes)]
    assert states == [{"a": 1}, {"a": 2}, {"a": 2}]
    assert changes[-1]["data"]["resource"] == deleted.model_dump(mode="json")
    assert [str(event.id) for event in told.heard] == [event["id"] for event in changes]


async def test_the_history_of_one_resource_is_found_by_it(told: Tellers) -> None:
    other = await told.catalog.create(Config, a_config("other"))

    page = await told.catalog.storage.read_events(
        EventQuery(channels=(RESOURCES,), subject=f"config/{other.metadata.uid}")
    )

    assert [json.loads(text)["data"]["name"] for text in page.entries.values()] == ["other"]


async def test_an_apply_that_changes_nothing_is_no_event(told: Tellers) -> None:
    verdicts = [(await told.catalog.apply(a_config(a=n)))[1] for n in (1, 2, 2)]

    assert verdicts == ["unchanged", "changed", "unchanged"]
    assert [event.type for event in told.heard] == [events.RESOURCE_CHANGED]
    assert len(await told.kept()) == 2


async def test_whoever_asked_for_a_change_is_named_in_its_event(told: Tellers) -> None:
    catalog = told.catalog

    await catalog.create(Config, a_config("new"), by="ann")
    await catalog.replace(Config, "new", a_config("new", a=1), by="bob")
    await catalog.apply(a_config("new", a=2), by="cem")
    await catalog.apply(a_config("newer"), by="dan")
    await catalog.delete(Config, "new", by="eve")

    nobody, *named = [event["headers"] for event in await told.kept()]
    assert nobody == {}
    assert named == [{"actor": name} for name in ("ann", "bob", "cem", "dan", "eve")]


async def test_a_change_that_is_refused_is_no_event(told: Tellers) -> None:
    with pytest.raises(ResourceExists):
        await told.catalog.create(Config, a_config())
    with pytest.raises(ResourceChanged):
        await told.catalog.replace(Config, "c", a_config(), expected=7)
    with pytest.raises(ResourceNotFound):
        await told.catalog.delete(Config, "absent")

    assert told.heard == []
    assert len(await told.kept()) == 1


# Changes that are expected to meet a generation


async def test_a_resource_that_was_changed_meanwhile_is_not_deleted(told: Tellers) -> None:
    await told.catalog.replace(Config, "c", a_config(by="them"))

    with pytest.raises(ResourceChanged) as caught:
        await told.catalog.delete(Config, "c", expected=1)

    assert (caught.value.expected, caught.value.found) == (1, 2)
    assert (await told.catalog.get(Config, "c")).spec.data == {"by": "them"}
    assert (await told.catalog.delete(Config, "c", expected=2)).name == "c"


# Changes that are only tried


async def test_what_is_only_tried_is_returned_and_neither_stored_nor_told(told: Tellers) -> None:
    catalog, before = told.catalog, await told.catalog.get(Config, "c")

    created = await catalog.create(Config, a_config("new", b=1), dry_run=True)
    replaced = await catalog.replace(Config, "c", a_config("d", a=2), expected=1, dry_run=True)
    deleted = await catalog.delete(Config, "c", expected=1, dry_run=True)

    assert (created.name, created.metadata.generation) == ("new", 1)
    assert (replaced.name, replaced.metadata.generation) == ("d", 2)
    assert (replaced.metadata.uid, deleted) == (before.metadata.uid, before)
    assert await catalog.list(Config) == [before]
    assert [document["spec"] for document in await catalog.storage.list("config")] == [
        before.model_dump(mode="json")["spec"]
    ]
    assert told.heard == []
    assert len(await told.kept()) == 1


REFUSED: dict[str, tuple[type[FlowdaptError], Callable[[Catalog], Change], tuple[Any, ...]]] = {
    "create, name taken": (ResourceExists, lambda c: c.create, (a_config(),)),
    "create, unsound": (InvalidResource, lambda c: c.create, (a_config("a b"),)),
    "create, no JSON": (InvalidResource, lambda c: c.create, (a_config("new", f=print),)),
    "replace, absent": (ResourceNotFound, lambda c: c.replace, ("absent", a_config("absent"))),
    "replace, name taken": (ResourceExists, lambda c: c.replace, ("c", a_config("other"))),
    "replace, unsound": (InvalidResource, lambda c: c.replace, ("c", a_config("a b"))),
    "replace, no JSON": (InvalidResource, lambda c: c.replace, ("c", a_config("c", f=print))),
    "delete, absent": (ResourceNotFound, lambda c: c.delete, ("absent",)),
}


@pytest.mark.parametrize(("error", "change", "given"), REFUSED.values(), ids=REFUSED)
async def test_what_is_only_tried_is_refused_as_if_it_were_made(
    told: Tellers,
    error: type[FlowdaptError],
    change: Callable[[Catalog], Change],
    given: tuple[Any, ...],
) -> None:
    await told.catalog.create(Config, a_config("other"))
    said = []

    for dry_run in (True, False):
        with pytest.raises(error) as caught:
            await change(told.catalog)(Config, *given, dry_run=dry_run)
        said.append(str(caught.value))

    assert said[0] == said[1]
    assert len(await told.kept()) == 2


@pytest.mark.parametrize("dry_run", [True, False])
async def test_another_generation_refuses_what_is_only_tried_too(
    told: Tellers, *, dry_run: bool
) -> None:
    with pytest.raises(ResourceChanged, match="generation 1, not 7"):
        await told.catalog.replace(Config, "c", a_config(), expected=7, dry_run=dry_run)
    with pytest.raises(ResourceChanged, match="generation 1, not 7"):
        await told.catalog.delete(Config, "c", expected=7, dry_run=dry_run)


async def test_a_resource_may_be_tried_under_its_own_name(told: Tellers) -> None:
    replaced = await told.catalog.replace(Config, "c", a_config(a=5), dry_run=True)

    assert replaced.spec.data == {"a": 5}
    assert (await told.catalog.get(Config, "c")).spec.data == {"a": 1}


# What services add


async def test_notes_of_the_server_leave_the_generation_and_the_history_alone(
    told: Tellers,
) -> None:
    time, catalog = datetime(2031, 4, 5, tzinfo=UTC), told.catalog
    first = await catalog.get(Config, "c")

    noted = await catalog.note(Config, first, {"flowdapt.ai/a": "1"}, time=time)

    (stored,) = await catalog.storage.list("config")
    assert stored == noted.model_dump(mode="json")
    assert await catalog.get(Config, "c") == noted
    assert noted.metadata.annotations == {"flowdapt.ai/a": "1"}
    assert (noted.metadata.generation, noted.metadata.updated_at) == (1, time)
    assert [event.type for event in told.heard] == [events.RESOURCE_NOTED]
    assert len(await told.kept()) == 1


async def test_what_was_deleted_is_not_noted_nor_another_of_its_name(told: Tellers) -> None:
    first = await told.catalog.delete(Config, "c")
    with pytest.raises(ResourceNotFound):
        await told.catalog.note(Config, first, {}, time=datetime.now(UTC))

    await told.catalog.create(Config, a_config("c"))

    with pytest.raises(ResourceNotFound):
        await told.catalog.note(Config, first, {}, time=datetime.now(UTC))


async def test_what_was_changed_meanwhile_is_not_noted(told: Tellers) -> None:
    first = await told.catalog.get(Config, "c")
    changed = await told.catalog.replace(Config, "c", a_config("c"))

    with pytest.raises(ResourceChanged):
        await told.catalog.note(Config, first, {}, time=datetime.now(UTC))

    assert await told.catalog.get(Config, "c") == changed


async def test_a_service_refuses_what_the_model_of_a_kind_cannot(told: Tellers) -> None:
    async def check(resource: Config, where: str) -> None:
        raise InvalidResource.at(where, ("spec", "data"), "no")

    told.catalog.checks["config"] = check

    with pytest.raises(InvalidResource, match=r"^request body: spec\.data: no$"):
        await told.catalog.create(Config, a_config("d"))
    assert [config.name for config in await told.catalog.list(Config)] == ["c"]
