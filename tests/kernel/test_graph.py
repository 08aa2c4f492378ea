"""Stages as a graph: what is ready, what is refused, and whose output is the run's."""

from __future__ import annotations

import pytest

from flowdapt.graph import Graph, GraphError

DIAMOND = {"load": (), "left": ("load",), "right": ("load",), "join": ("left", "right")}


def test_a_stage_is_ready_once_all_it_depends_on_is_done() -> None:
    graph = Graph({"load": (), "clean": ("load",), "train": ("clean",), "plot": ("clean",)})

    ready = graph.ready(done={"load", "clean"})

    assert ready == {"train", "plot"}


def test_stages_without_dependencies_are_ready_at_once() -> None:
    graph = Graph({"a": (), "b": (), "c": ("a",)})

    assert graph.ready(done=()) == {"a", "b"}


def test_a_join_waits_for_both_branches() -> None:
    graph = Graph(DIAMOND)

    assert graph.ready(done={"load", "left"}) == {"right"}
    assert graph.ready(done={"load", "left", "right"}) == {"join"}


def test_nothing_is_ready_once_all_is_done() -> None:
    graph = Graph(DIAMOND)

    assert graph.ready(done=DIAMOND) == set()


def test_a_stage_that_is_named_twice_among_dependencies_is_one_dependency() -> None:
    graph = Graph({"a": (), "b": ("a", "a")})

    assert graph.dependents == {"a": ["b"], "b": []}
    assert graph.ready(done={"a"}) == {"b"}
    assert graph.result == "b"


def test_dependents_are_listed_in_file_order() -> None:
    graph = Graph({"z": ("load",), "load": (), "a": ("load", "z")})

    assert graph.dependents["load"] == ["z", "a"]


# What is refused


def test_a_dependency_on_no_stage_is_named_with_the_stage_that_has_it() -> None:
    with pytest.raises(GraphError) as caught:
        Graph({"train": ("lod",), "load": ()})

    assert str(caught.value) == (
        "stage 'train' depends on 'lod', which is no stage (did you mean 'load'?)"
    )
    assert caught.value.stage == "train"


def test_a_cycle_is_shown_as_a_path_that_ends_where_it_began() -> None:
    with pytest.raises(GraphError) as caught:
        Graph({"load": (), "a": ("load", "c"), "b": ("a",), "c": ("b",), "after": ("c",)})

    assert str(caught.value) == "stages depend on each other: a -> c -> b -> a"
    assert caught.value.stage == "a"


def test_a_cycle_further_up_is_found_from_the_stages_that_wait_for_it() -> None:
    with pytest.raises(GraphError, match=r"^stages depend on each other: x -> y -> x$"):
        Graph({"last": ("middle",), "middle": ("x",), "x": ("y",), "y": ("x",)})


def test_a_stage_that_depends_on_itself_is_a_cycle() -> None:
    with pytest.raises(GraphError, match=r"^stages depend on each other: a -> a$"):
        Graph({"a": ("a",)})


def test_a_cycle_of_thousands_is_found_without_delay_or_deep_recursion() -> None:
    names = [f"s{i}" for i in range(20_000)]

    with pytest.raises(GraphError, match=r"^stages depend on each other: s0 -> s19999 -> s19998 "):
        Graph({name: (names[i - 1],) for i, name in enumerate(names)})


# Whose output is the run's


@pytest.mark.parametrize(
    ("stages", "result"),
    [
        ({"only": ()}, "only"),
        (DIAMOND, "join"),
        ({"a": (), "b": ("a",), "c": ("a",)}, "c"),
        ({"a": (), "c": ("a",), "b": ("a",)}, "b"),
        ({"deep": ("middle",), "middle": ("top",), "top": (), "last": ("top",)}, "deep"),
        ({"a": (), "b": ("a",), "alone": ()}, "b"),
        ({"late": ("a", "b"), "a": (), "b": ("a",), "other": ("b",)}, "other"),
    ],
)
def test_the_result_is_that_of_the_last_stage_of_the_deepest_level(
    stages: dict[str, tuple[str, ...]], result: str
) -> None:
    assert Graph(stages).result == result
