from __future__ import annotations

from typing import Any

import pytest
from flowdapt_cli.reading.errors import ExpressionError, UnreadableFile
from flowdapt_cli.reading.expressions import resolve

FILES = {"shared.yaml": {"region": "eu", "sizes": {"small": 2}}}
ENVIRON = {"HOST": "example.org", "PORT": "8080", "SLY": "$ref{password}"}


def resolved(value: Any, **root: Any) -> Any:
    def read_file(name: str) -> Any:
        if name not in FILES:
            raise UnreadableFile(name, "cannot be read: No such file or directory")
        return FILES[name]

    return resolve(value, root=root or value, read_file=read_file, environ=ENVIRON)


def refusal(value: Any, **root: Any) -> str:
    with pytest.raises(ExpressionError) as caught:
        resolved(value, **root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$env{HOST}", "example.org"),
        ("http://$env{HOST}:$env{PORT}/", "http://example.org:8080/"),
        ("$env{NOWHERE,fallback}", "fallback"),
        ("$upper{eu, west}", "EU, WEST"),
        ("$lower{EU}", "eu"),
        ("$sum{1,2,3}", 6),
        ("$sum{1,0.5}", 1.5),
        ("$reverse{abc}", "cba"),
        ("$base64{user:word}", "dXNlcjp3b3Jk"),
        ("$base64{{braces}}", "e2JyYWNlc30="),
        ("$unbase64{dXNlcjp3b3Jk}", "user:word"),
        ("$upper{$reverse{$lower{ABC}}}", "CBA"),
        ("$ref{shared.yaml|sizes.small}", 2),
        ("$ref{shared.yaml|*}", FILES["shared.yaml"]),
        ("no expression: $HOST ${HOST} {x} $5", "no expression: $HOST ${HOST} {x} $5"),
        ("", ""),
    ],
)
def test_an_expression_yields_its_value(text: str, expected: Any) -> None:
    assert resolved(text) == expected


def test_a_reference_alone_keeps_the_type_and_inside_a_text_is_written_as_json() -> None:
    root = {"cpus": 4, "labels": ["a", "b"], "on": True}

    alone = resolved({"cpus": "$ref{cpus}", "first": "$ref{labels.0}", "on": "$ref{on}"}, **root)
    inside = resolved("$ref{cpus} cpus, $ref{on}, $ref{labels}", **root)

    assert alone == {"cpus": 4, "first": "a", "on": True}
    assert inside == '4 cpus, true, ["a", "b"]'


def test_expressions_are_resolved_in_nested_values_and_behind_references() -> None:
    data = {"host": "$env{HOST}", "urls": [{"a": "http://$ref{host}/"}], "n": 1, "none": None}

    found = resolved(data)

    assert found == {
        "host": "example.org",
        "urls": [{"a": "http://example.org/"}],
        "n": 1,
        "none": None,
    }


def test_what_an_expression_yields_is_not_read_as_an_expression() -> None:
    found = resolved({"password": "secret", "a": "$env{SLY}", "b": "x $env{SLY}"})

    assert found["a"] == "$ref{password}"
    assert found["b"] == "x $ref{password}"


def test_a_secret_stays_as_written_beside_expressions_and_behind_references() -> None:
    data = {"a": "$secret{token}", "b": "Bearer $secret{token} $env{HOST}", "c": "<$ref{a}>"}

    found = resolved(data)

    assert found == {
        "a": "$secret{token}",
        "b": "Bearer $secret{token} example.org",
        "c": "<$secret{token}>",
    }
    assert all(type(text) is str for text in found.values())


@pytest.mark.parametrize("text", ["$base64{me:$secret{token}}", "$upper{$ref{token}}"])
def test_a_secret_within_another_expression_is_refused(text: str) -> None:
    assert refusal({"token": "$secret{token}", "a": text}) == (
        f"a: {text}: a secret cannot be within another expression, because it is opened only "
        "where a stage runs; store the whole value as a secret"
    )


def test_an_unknown_operation_is_refused_with_its_place_and_the_nearest_name() -> None:
    assert refusal({"spec": {"urls": ["$evn{HOST}"]}}) == (
        "spec.urls.0: $evn{HOST}: no operation named 'evn' (did you mean 'env'?)"
    )
    assert refusal("$zzzzzz{}") == (
        "document: $zzzzzz{}: no operation named 'zzzzzz'; "
        "there are env, ref, upper, lower, sum, reverse, base64, unbase64"
    )


def test_a_missing_variable_is_refused_and_the_way_to_a_default_is_shown() -> None:
    assert refusal({"a": "$env{NOWHERE}"}) == (
        "a: $env{NOWHERE}: no variable named 'NOWHERE' is set; set it, or write "
        "$env{NOWHERE,default}"
    )
    assert refusal("$env{HOTS}").endswith("(did you mean 'HOST'?)")


def test_a_missing_reference_is_refused_with_the_nearest_key() -> None:
    assert refusal({"sizes": {"small": 1}, "a": "$ref{sizes.smal}"}) == (
        "a: $ref{sizes.smal}: nothing is at 'sizes.smal' (did you mean 'small'?)"
    )


def test_a_reference_to_a_missing_file_is_refused() -> None:
    assert refusal({"a": "$ref{gone.yaml|b}"}) == (
        "a: $ref{gone.yaml|b}: gone.yaml: cannot be read: No such file or directory"
    )


def test_references_in_a_circle_are_refused() -> None:
    assert refusal({"a": "$ref{b}", "b": "$ref{a}"}) == (
        "a: $ref{b}: refers to itself: b -> a -> b"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$env{HOST", "a: $env{ is never closed; add '}' to '$env{HOST'"),
        ("$sum{1,x}", "a: $sum{1,x}: could not convert string to float: 'x'"),
        ("$unbase64{?}", "a: $unbase64{?}: Only base64 data is allowed"),
    ],
)
def test_a_malformed_expression_is_refused(text: str, expected: str) -> None:
    assert refusal({"a": text}) == expected
