"""``$secret{NAME}`` in the data of a config."""

from __future__ import annotations

from typing import Any

import pytest
from flowdapt_secrets.references import MalformedReference, named, replaced


def test_names_are_found_at_any_depth_with_the_path_of_the_first() -> None:
    data = {
        "url": "https://$secret{USER}:$secret{ PASS-1 }@host",
        "list": [1, {"token": "$secret{USER}", "key": "$secret{key_2}"}],
        "none": None,
    }

    assert named(data) == {"USER": "url", "PASS-1": "url", "key_2": "list.1.key"}


def test_values_stand_in_place_alone_and_within_texts() -> None:
    data = {"a": "$secret{X}", "b": [{"c": "Bearer $secret{ X }!"}], "n": 1, "t": True, "e": {}}

    found = replaced(data, {"X": "v"})

    assert found == {"a": "v", "b": [{"c": "Bearer v!"}], "n": 1, "t": True, "e": {}}
    assert data["a"] == "$secret{X}"


def test_what_stands_in_a_value_is_no_reference() -> None:
    assert replaced("$secret{X}", {"X": "$secret{Y} \\1 \\g<0>"}) == "$secret{Y} \\1 \\g<0>"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": {"b": ["x $secret{}"]}}, "config key 'a.b.0' has '$secret{}'"),
        ({"a": "$secret{TOKEN"}, "config key 'a' has '$secret{TOKEN'"),
        ({"a": "$secret{two words}"}, "has '$secret{two words}', and should have $secret{NAME}"),
        ({"a": "$secret{$env{X}}"}, "config key 'a' has '$secret{$env'"),
        ({"a": {"$secret{X}": 1}}, "'a' has '$secret{X}', and a secret can be a value, not a key"),
    ],
)
def test_what_names_no_secret_is_refused_with_its_place(data: Any, message: str) -> None:
    with pytest.raises(MalformedReference) as caught:
        named(data)

    assert message in str(caught.value)
