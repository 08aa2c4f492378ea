"""What every storage does with resources; see ``runs.py`` and ``events.py`` for the rest."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from flowdapt.errors import ResourceChanged, ResourceExists, ResourceNotFound
from flowdapt.runs import Run, StageRecord
from flowdapt.storage import INLINE_BYTES, EventQuery, LogBlock, Storage
from flowdapt_testing.blobs import BlobSuite
from flowdapt_testing.documents import a_document, changed
from flowdapt_testing.events import EventSuite, an_event
from flowdapt_testing.runs import ODD_TEXT


class StorageSuite(BlobSuite, EventSuite):
    """What every :class:`flowdapt.storage.Storage` does.

    A subclass says how one is made; each call returns one over the same place, not yet started::

        class TestMyStorage(DurableStorageSuite):
            @pytest.fixture
            def make_storage(self, tmp_path):
                return lambda: MyStorage(app_dir=tmp_path)
    """

    # Being opened and closed

    async def test_stopping_is_harmless_before_a_start_and_after_a_stop(
        self, make_storage: Callable[[], Storage]
    ) -> None:
        storage = make_storage()

        await storage.stop()
        await storage.start()
        await storage.stop()

        await storage.stop()

    # Resources

    async def test_a_resource_is_found_by_name_and_by_uid(self, storage: Storage) -> None:
        document = a_document(numbers=[1, 2.5, None, True], text=ODD_TEXT, nested={"a": {}})

        await storage.create(document)

        assert await storage.get("workflow", "first") == document
        assert await storage.get("workflow", UUID(document["metadata"]["uid"])) == document

    async def test_text_that_looks_like_a_uid_is_a_name(self, storage: Storage) -> None:
        document = a_document()
        await storage.create(document)

        with pytest.raises(ResourceNotFound):
            await storage.get("workflow", document["metadata"]["uid"])

    @pytest.mark.parametrize("identifier", ["absent", "\ud800", uuid4()])
    async def test_a_missing_resource_is_named(
        self, storage: Storage, identifier: str | UUID
    ) -> None:
        with pytest.raises(ResourceNotFound) as caught:
            await storage.get("config", identifier)

        assert (caught.value.kind, caught.value.name) == ("config", str(identifier))

    async def test_resources_are_listed_in_the_order_of_their_creation(
        self, storage: Storage
    ) -> None:
        documents = [a_document(name) for name in ("c", "a", "b")]
        for document in documents:
            await storage.create(document)
        later = changed(documents[0], name="z")

        await storage.replace(later, expected=1)

        assert await storage.list("workflow") == [later, *documents[1:]]
        assert await storage.list("config") == []

    async def test_names_are_unique_within_a_kind_only(self, storage: Storage) -> None:
        await storage.create(a_document("same"))
        await storage.create(a_document("same", kind="config"))

        with pytest.raises(ResourceExists) as caught:
            await storage.create(a_document("same"))

        assert (caught.value.kind, caught.value.name) == ("workflow", "same")
        assert len(await storage.list("workflow")) == 1

    async def test_a_change_of_what_was_given_or_returned_changes_nothing_stored(
        self, storage: Storage
    ) -> None:
        document = a_document(stages=["a"])
        await storage.create(document)

        document["spec"]["stages"].append("b")
        (await storage.get("workflow", "first"))["spec"]["stages"].append("c")
        (await storage.list("workflow"))[0]["spec"]["stages"].append("d")

        assert (await storage.get("workflow", "first"))["spec"] == {"stages": ["a"]}

    async def test_a_replaced_resource_has_its_new_content_and_name(self, storage: Storage) -> None:
        document = a_document(old=1)
        await storage.create(document)
        later = changed(document, name="renamed", new=2)

        await storage.replace(later, expected=1)

        assert await storage.get("workflow", "renamed") == later
        with pytest.raises(ResourceNotFound):
            await storage.get("workflow", "first")

    async def test_a_resource_that_was_changed_meanwhile_is_not_replaced(
        self, storage: Storage
    ) -> None:
        document = a_document()
        await storage.create(document)
        await storage.replace(theirs := changed(document, by="them"), expected=1)

        with pytest.raises(ResourceChanged) as caught:
            await storage.replace(changed(document, by="us"), expected=1)

        assert (caught.value.expected, caught.value.found) == (1, 2)
        assert (caught.value.kind, caught.value.name) == ("workflow", "first")
        assert await storage.get("workflow", "first") == theirs

    async def test_a_new_name_that_another_has_is_refused(self, storage: Storage) -> None:
        first, second = a_document("first"), a_document("second")
        await storage.create(first)
        await storage.create(second)

        with pytest.raises(ResourceExists) as caught:
            await storage.replace(changed(second, name="first"), expected=1)

        assert caught.value.name == "first"
        assert await storage.list("workflow") == [first, second]

    async def test_nothing_is_replaced_or_deleted_where_nothing_is(self, storage: Storage) -> None:
        document = a_document()

        with pytest.raises(ResourceNotFound) as caught:
            await storage.replace(document, expected=1)
        with pytest.raises(ResourceNotFound):
            await storage.delete("workflow", UUID(document["metadata"]["uid"]))

        assert caught.value.kind == "workflow"

    async def test_of_20_replacements_at_once_exactly_one_wins(self, storage: Storage) -> None:
        document = a_document()
        await storage.create(document)
        tries = [storage.replace(changed(document, by=i), expected=1) for i in range(20)]

        outcomes = await asyncio.gather(*tries, return_exceptions=True)

        (winner,) = [i for i, outcome in enumerate(outcomes) if outcome is None]
        assert sum(isinstance(outcome, ResourceChanged) for outcome in outcomes) == 19
        assert (await storage.get("workflow", "first"))["spec"] == {"by": winner}

    async def test_of_20_creations_at_once_exactly_one_wins(self, storage: Storage) -> None:
        outcomes = await asyncio.gather(
            *(storage.create(a_document()) for _ in range(20)), return_exceptions=True
        )

        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, ResourceExists) for outcome in outcomes) == 19

    async def test_a_deleted_resource_is_gone_and_its_name_is_free(self, storage: Storage) -> None:
        document, other = a_document(), a_document(kind="config")
        await storage.create(document)
        await storage.create(other)

        await storage.delete("workflow", UUID(document["metadata"]["uid"]))

        assert await storage.list("workflow") == []
        assert await storage.list("config") == [other]
        await storage.create(a_document())


class DurableStorageSuite(StorageSuite):
    """What every storage does that keeps things beyond its process, beside all the others do."""

    async def test_what_was_stored_is_there_when_it_is_opened_again(
        self, storage: Storage, make_storage: Callable[[], Storage]
    ) -> None:
        document, big = a_document(), b"[" + b" " * INLINE_BYTES + b"]"
        await storage.create(document)
        run = await self.ended(storage, Run(workflow="first", input={"a": 1}), result=big)
        await storage.save_stage(run.uid, StageRecord(stage="load"))
        await storage.append_log(run.uid, LogBlock("load", b"{}", 1))

        await storage.stop()
        again = make_storage()
        await again.start()

        try:
            assert await again.list("workflow") == [document]
            stored = await again.get_run(run.uid)
            assert (stored.run, stored.result) == (run, big)
            assert [record.stage for record in await again.list_stages(run.uid)] == ["load"]
            assert await again.read_log(run.uid) == {1: LogBlock("load", b"{}", 1)}
        finally:
            await again.stop()

    async def test_a_position_is_not_given_twice_whatever_was_forgotten(
        self, storage: Storage, make_storage: Callable[[], Storage]
    ) -> None:
        for _ in range(3):
            await storage.append_event(an_event(ago=60))
        await storage.trim_events("gossip", 30, limit=100)
        await storage.stop()
        again = make_storage()
        await again.start()

        try:
            assert await again.last_event() == 3
            await again.append_event(an_event())
            page = await again.read_events(EventQuery(after=3))
            assert list(page.entries) == [4]
            assert page.next == await again.last_event() == 4
        finally:
            await again.stop()
