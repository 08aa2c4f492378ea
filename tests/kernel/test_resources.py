"""What a user applies: what is accepted, what is refused by name, and what is answered."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from flowdapt.errors import InvalidResource
from flowdapt.resources import (
    Config,
    Metadata,
    Selector,
    Stage,
    Workflow,
    amounts,
    merged_data,
    timestamp,
)


def a_workflow(*stages: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return a workflow as plain data, of one sound stage unless others are given."""
    some = list(stages) or [{"name": "load", "target": "farm.load"}]
    return {"metadata": {"name": "harvest", **metadata}, "spec": {"stages": some}}


def a_stage(**facts: Any) -> dict[str, Any]:
    """Return a stage as plain data."""
    return {"name": "load", "target": "farm.load", **facts}


def a_config(data: Mapping[str, Any], **selector: Any) -> Config:
    """Return a config; without further facts it selects nothing."""
    spec = {"data": data, "selector": selector or None}
    return Config.parse({"metadata": {"name": "c"}, "spec": spec}, where="test")


def read(data: object, *, strict: bool = False) -> Workflow:
    """Return a workflow from plain data."""
    return Workflow.parse(data, where="farm.yaml", strict=strict)


def refusal(data: object, *, strict: bool = False) -> str:
    """Return what is said of a workflow that is refused."""
    with pytest.raises(InvalidResource) as caught:
        read(data, strict=strict)
    return str(caught.value)


# What is answered


def test_all_fields_of_a_stage_are_present_in_a_response() -> None:
    workflow = read(a_workflow())

    (stage,) = workflow.model_dump(mode="json")["spec"]["stages"]

    assert stage == {
        "type": "simple",
        "target": "farm.load",
        "name": "load",
        "description": "",
        "version": "",
        "depends_on": [],
        "options": {},
        "resources": {},
        "priority": None,
    }


def test_metadata_is_given_where_it_is_absent() -> None:
    workflow = read(a_workflow())

    answer = workflow.model_dump(mode="json")

    assert answer["kind"] == "workflow"
    assert answer["metadata"]["annotations"] == {}
    assert str(UUID(answer["metadata"]["uid"])) == answer["metadata"]["uid"]


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("2031-04-05T06:07:08.123456", "2031-04-05T06:07:08.123456"),
        ("2031-04-05T06:07:08", "2031-04-05T06:07:08.000000"),
        ("2031-04-05 06:07:08", "2031-04-05T06:07:08.000000"),
        ("2031-04-05T06:07:08.5Z", "2031-04-05T06:07:08.500000"),
        ("2031-04-05T06:07:08+02:00", "2031-04-05T04:07:08.000000"),
    ],
)
def test_times_are_answered_in_utc_without_offset_and_with_microseconds(
    given: str, answered: str
) -> None:
    metadata = Metadata.parse({"name": "a", "created_at": given}, where="test")

    assert metadata.created_at.tzinfo is UTC
    assert json.loads(metadata.model_dump_json())["created_at"] == answered


def test_a_time_is_written_alike_wherever_it_was_made() -> None:
    moment = datetime(2031, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))

    assert timestamp(moment.astimezone(UTC)) == "2031-04-05T04:00:00.000000"


def test_a_resource_that_is_read_again_is_the_same() -> None:
    workflow = read(a_workflow(a_stage(resources={"memory": "8GB"}, options={"map_on": "x"})))

    again = read(json.loads(workflow.model_dump_json()), strict=True)

    assert again == workflow


def test_a_null_selector_is_answered_as_one_that_selects_nothing() -> None:
    config = a_config({"depth": 4})

    answer = config.model_dump(mode="json")

    assert answer["spec"]["selector"] == {"kind": None, "type": "name", "value": None}


def test_resources_cannot_be_changed_in_place() -> None:
    workflow = read(a_workflow())

    with pytest.raises(ValueError, match="frozen"):
        workflow.metadata.name = "other"  # type: ignore[misc]  # which is what is tested


# Unknown fields


def test_unknown_fields_are_dropped_unless_they_are_to_be_refused() -> None:
    data = {**a_workflow(a_stage(retry=3)), "version": "v1"}

    workflow = read(data)

    assert "retry" not in workflow.model_dump()["spec"]["stages"][0]
    assert refusal(data, strict=True) == (
        "farm.yaml: spec.stages.0.retry: unknown field; version: unknown field"
    )


def test_what_options_and_annotations_hold_is_never_unknown() -> None:
    data = a_workflow(a_stage(options={"anything": {"at": "all"}}), annotations={"x.y/z": "1"})

    assert read(data, strict=True).spec.stages[0].options == {"anything": {"at": "all"}}


# Names and shapes that are refused


@pytest.mark.parametrize("name", ["a", "A-b_9", "-", "x" * 253])
def test_names_are_letters_digits_dashes_and_underscores(name: str) -> None:
    assert read(a_workflow(name=name)).name == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a.b", "a/b", "ä", "a\n", "\ud800", "x" * 254, 5, None]
)
def test_other_names_are_refused(name: Any) -> None:
    assert refusal(a_workflow(name=name)).startswith("farm.yaml: metadata.name: ")


def test_a_missing_name_is_said_to_be_missing() -> None:
    data = {"metadata": {}, "spec": {"stages": [a_stage()]}}

    assert refusal(data) == "farm.yaml: metadata.name: Field required"


@pytest.mark.parametrize("document", [None, [], "text", 5, [{}]])
def test_a_document_that_is_no_object_is_refused(document: Any) -> None:
    assert refusal(document).startswith("farm.yaml: document: Input should be a valid dictionary")


def test_a_foreign_kind_is_refused() -> None:
    assert refusal({**a_workflow(), "kind": "config"}) == (
        "farm.yaml: kind: Input should be 'workflow'"
    )


@pytest.mark.parametrize("value", [1, None, ["a"], {"a": "b"}])
def test_annotations_that_are_no_texts_are_refused(value: Any) -> None:
    assert refusal(a_workflow(annotations={"group": value})).startswith(
        "farm.yaml: metadata.annotations.group: Input should be a valid string"
    )


def test_a_time_beyond_what_can_be_told_is_refused() -> None:
    data = a_workflow(created_at="0001-01-01T00:00:00+14:00")

    assert refusal(data) == "farm.yaml: metadata.created_at: is out of the range of times"


def test_every_fault_is_reported_at_once_with_its_path() -> None:
    with pytest.raises(InvalidResource) as caught:
        read(a_workflow(a_stage(name=5), a_stage(target=""), name="?"))

    paths = [error["loc"] for error in caught.value.errors]

    assert ("metadata", "name") in paths
    assert ("spec", "stages", 0, "name") in paths
    assert ("spec", "stages", 1, "target") in paths
    assert all(set(error) == {"loc", "msg", "type"} for error in caught.value.errors)


# Workflows


def test_a_workflow_needs_a_stage() -> None:
    data = {"metadata": {"name": "empty"}, "spec": {"stages": []}}

    assert "spec.stages: Tuple should have at least 1 item" in refusal(data)


def test_two_stages_of_one_name_are_refused_with_that_name() -> None:
    data = a_workflow(a_stage(), a_stage(name="other"), a_stage())

    assert refusal(data) == "farm.yaml: spec: 2 stages are named 'load'; names are unique"


def test_ten_thousand_stages_are_checked_without_delay() -> None:
    stages = [a_stage(name=f"s{i}", depends_on=[f"s{i - 1}"] if i else []) for i in range(10_000)]

    workflow = read(a_workflow(*stages))

    assert workflow.spec.graph().result == "s9999"


def test_a_missing_dependency_is_named() -> None:
    data = a_workflow(a_stage(depends_on=["lod"]))

    assert refusal(data) == (
        "farm.yaml: spec: stage 'load' depends on 'lod', which is no stage (did you mean 'load'?)"
    )


def test_a_cycle_is_refused_with_its_path() -> None:
    data = a_workflow(a_stage(name="a", depends_on=["b"]), a_stage(name="b", depends_on=["a"]))

    assert refusal(data) == "farm.yaml: spec: stages depend on each other: a -> b -> a"


@pytest.mark.parametrize(
    "target", ["", "load", ".load", "farm.", "a..b", "a b.c", "a.1b", "a:b", 5]
)
def test_a_target_that_is_no_import_path_is_refused_with_what_would_be_right(target: Any) -> None:
    said = refusal(a_workflow(a_stage(target=target)))

    assert said.startswith("farm.yaml: spec.stages.0.target: ")
    assert "'package.module.function'" in said


@pytest.mark.parametrize("target", [print, len, dict, lambda: 1, refusal])
def test_a_target_may_be_the_function_itself(target: Callable[..., Any]) -> None:
    stage = Stage(name="a", target=target)

    assert stage.target is target


def test_an_empty_map_on_means_not_set() -> None:
    stages = [
        Stage.parse(a_stage(options=options), where="test")
        for options in ({"map_on": ""}, {"map_on": None}, {}, {"map_on": "cities"})
    ]

    assert [stage.map_on for stage in stages] == [None, None, None, "cities"]


def test_a_map_on_that_is_no_text_is_refused() -> None:
    assert refusal(a_workflow(a_stage(options={"map_on": 5}))) == (
        "farm.yaml: spec.stages.0.options: 'map_on' is 5, and must be a key of the run's input"
    )


@pytest.mark.parametrize(
    ("size", "meant"), [(None, None), ("", None), (0, None), (1, 1), (250, 250), ("250", 250)]
)
def test_a_chunk_size_may_be_text_or_not_be_set(size: Any, meant: int | None) -> None:
    assert Stage.parse(a_stage(options={"chunk_size": size}), where="test").chunk_size == meant


@pytest.mark.parametrize("size", ["many", -1, 1.5, [1], True])
def test_a_chunk_size_that_is_no_whole_number_is_refused(size: Any) -> None:
    assert refusal(a_workflow(a_stage(options={"chunk_size": size}))) == (
        f"farm.yaml: spec.stages.0.options: 'chunk_size' is {size!r}, and must be a whole number"
    )


def test_partial_failure_is_allowed_unless_the_options_say_otherwise() -> None:
    allowed = Stage.parse(a_stage(), where="test")
    refused = Stage.parse(a_stage(options={"allow_partial_failure": False}), where="test")

    assert allowed.allow_partial_failure
    assert not refused.allow_partial_failure


# Amounts


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        (0, 0),
        (1024, 1024),
        ("1024", 1024),
        (1e16, 1e16),
        ("8GB", 8e9),
        ("8 GB", 8e9),
        ("1kB", 1000),
        ("1KB", 1000),
        ("2MB", 2e6),
        ("1TB", 1e12),
        ("1PB", 1e15),
        ("1KiB", 1024),
        ("512MiB", 512 * 2**20),
        ("1.5GiB", 1.5 * 2**30),
        ("1PiB", 2**50),
        ("7B", 7),
    ],
)
def test_memory_is_a_number_of_bytes_or_a_text_with_a_unit(
    value: float | str, bytes_: float
) -> None:
    assert amounts({"memory": value}) == {"memory": bytes_}


@pytest.mark.parametrize("value", ["0.5", " 0.5 ", 0.5])
def test_other_amounts_are_numbers_which_may_arrive_as_text(value: float | str) -> None:
    assert amounts({"cpus": value, "threads": "5"}) == {"cpus": 0.5, "threads": 5}


def test_a_tiny_amount_is_a_number_too() -> None:
    assert amounts({"licence": 1e-07}) == {"licence": 1e-07}


def test_an_empty_text_is_no_amount_at_all() -> None:
    assert amounts({"gpus": "", "cpus": 1}) == {"cpus": 1}


@pytest.mark.parametrize("value", ["lots", "-1", -1, "1 GB", "0x10", math.nan, math.inf])
def test_a_malformed_amount_is_refused_with_what_would_be_right(value: float | str) -> None:
    said = refusal(a_workflow(a_stage(resources={"cpus": value})))

    assert said.startswith("farm.yaml: spec.stages.0.resources: resource 'cpus' is ")
    assert said.endswith("and must be a number that is not negative")


@pytest.mark.parametrize("value", ["8 gigs", "8gb", "GB", "-8GB", -1])
def test_malformed_memory_is_refused_with_what_would_be_right(value: float | str) -> None:
    with pytest.raises(ValueError, match=re.escape("a text such as '8GB' or '512MiB'")):
        amounts({"memory": value})


def test_amounts_are_answered_as_they_were_given() -> None:
    stage = Stage.parse(a_stage(resources={"threads": "5", "cpus": 0.5}), where="test")

    assert stage.model_dump(mode="json")["resources"] == {"threads": "5", "cpus": 0.5}


# Which configs a workflow finds


@pytest.mark.parametrize("kind", [None, "workflow"])
def test_a_name_selects_the_workflow_of_that_name(kind: str | None) -> None:
    selector = Selector(kind=kind, type="name", value="harvest")

    assert selector.selects(read(a_workflow()))
    assert not selector.selects(read(a_workflow(name="other")))


def test_a_selector_of_another_kind_selects_no_workflow() -> None:
    selector = Selector(kind="config", type="name", value="harvest")

    assert not selector.selects(read(a_workflow()))


@pytest.mark.parametrize("kind", ["name", "annotation"])
def test_a_selector_without_a_value_selects_nothing(kind: Any) -> None:
    assert not Selector(type=kind).selects(read(a_workflow(annotations={"a": "b"})))


@pytest.mark.parametrize(
    ("annotations", "selected"),
    [
        ({}, False),
        ({"group": "orchard"}, False),
        ({"group": "orchard", "stage": "prod"}, True),
        ({"group": "orchard", "stage": "prod", "more": "x"}, True),
        ({"group": "field", "stage": "prod"}, False),
    ],
)
def test_annotations_select_where_every_pair_is_present(
    annotations: dict[str, str], *, selected: bool
) -> None:
    selector = Selector(type="annotation", value={"group": "orchard", "stage": "prod"})

    assert selector.selects(read(a_workflow(annotations=annotations))) is selected


def test_no_annotations_at_all_select_nothing() -> None:
    assert not Selector(type="annotation", value={}).selects(read(a_workflow()))


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"type": "name", "value": {"a": "b"}}, "value must be a text for a selector of type"),
        ({"type": "annotation", "value": "a"}, "value must be an object of texts for a selector"),
        ({"type": "label"}, "spec.selector.type: Input should be 'name' or 'annotation'"),
    ],
)
def test_a_selector_that_contradicts_itself_is_refused(selector: dict[str, Any], said: str) -> None:
    data = {"metadata": {"name": "c"}, "spec": {"data": {}, "selector": selector}}

    with pytest.raises(InvalidResource, match=re.escape(said)):
        Config.parse(data, where="test")


def test_a_config_without_data_is_refused() -> None:
    with pytest.raises(InvalidResource, match=r"test: spec\.data: Field required"):
        Config.parse({"metadata": {"name": "c"}, "spec": {}}, where="test")


def test_configs_by_annotation_win_over_configs_by_name_and_later_ones_over_earlier() -> None:
    workflow = read(a_workflow(annotations={"g": "1"}))
    by_annotation = {"type": "annotation", "value": {"g": "1"}}
    configs = [
        a_config({"who": "annotation 1", "a": 1}, **by_annotation),
        a_config({"who": "name 1", "n": 1, "m": 1}, value="harvest"),
        a_config({"who": "annotation 2", "b": 1}, **by_annotation),
        a_config({"who": "name 2", "n": 2}, value="harvest"),
        a_config({"who": "nobody's"}),
        a_config({"who": "another's"}, value="other"),
    ]

    data = merged_data(configs, workflow)

    assert data == {"who": "annotation 2", "n": 2, "m": 1, "a": 1, "b": 1}


def test_nested_objects_are_replaced_and_not_merged() -> None:
    configs = [
        a_config({"model": {"depth": 4, "width": 2}}, value="harvest"),
        a_config({"model": {"depth": 5}}, value="harvest"),
    ]

    assert merged_data(configs, read(a_workflow())) == {"model": {"depth": 5}}


@pytest.mark.parametrize(
    "stage", [{"priority": True}, {"priority": "5"}, {"resources": {"cpus": False}}]
)
def test_a_truth_value_or_a_text_is_no_number(stage: dict[str, Any]) -> None:
    with pytest.raises(InvalidResource, match=next(iter(stage))):
        Stage.parse({"name": "one", "target": "garden.pick", **stage}, where="here")
