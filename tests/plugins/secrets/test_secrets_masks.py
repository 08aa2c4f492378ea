"""What is hidden in texts, and in which forms."""

from __future__ import annotations

import json
import re
from urllib.parse import quote_plus, urlencode

import pytest
from flowdapt_secrets.masks import LEAST, Masks

TRICKY = "p\"a'ss\\wörd/+&=\té"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASC\nabc\n-----END KEY-----\n"


def test_every_occurrence_is_replaced() -> None:
    masks = Masks(["hunter22"])

    assert masks("hunter22 and xhunter22x") == "*** and x***x"
    assert masks("hunter2") == "hunter2"


@pytest.mark.parametrize(
    "written",
    [
        TRICKY,
        json.dumps({"a": TRICKY}),
        json.dumps({"a": TRICKY}, ensure_ascii=False),
        repr(TRICKY),
        repr([TRICKY, "'", '"']),
        repr(f'it\'s "{TRICKY}"'),
        repr(TRICKY.encode()),
        f"https://example.org/?key={quote_plus(TRICKY)}",
        f"https://example.org/?{urlencode({'key': TRICKY})}",
    ],
)
def test_a_secret_is_found_in_the_forms_in_which_it_is_written(written: str) -> None:
    told = Masks([TRICKY])(written)

    assert "***" in told
    assert not re.search(r"ss.*w", told)


def test_a_secret_of_several_lines_is_found_as_a_whole_and_line_by_line() -> None:
    masks = Masks([PEM])

    assert masks(f"key: {PEM}!") == "key: ***!"
    assert masks("> MIIEvQIBADANBgkqhkiG <") == "> *** <"
    assert masks("  | 9w0BAQEFAASC") == "  | ***"
    assert masks(json.dumps(PEM)) == '"***"'
    assert masks("abc") == "abc"


def test_what_a_file_ends_with_makes_no_difference() -> None:
    assert Masks(["hunter22\n"])("token=hunter22;") == "token=***;"


def test_short_secrets_stay_because_they_stand_everywhere() -> None:
    short = "x" * (LEAST - 1)

    masks = Masks([short, "      ", "\n\n\n\n\n"])

    assert masks(f"{short} and      more\n\n\n\n\n\n") == f"{short} and      more\n\n\n\n\n\n"


def test_of_secrets_that_overlap_nothing_stays() -> None:
    masks = Masks(["abcd1234", "1234efgh", "1234", "aaaa"])

    assert masks("<abcd1234efgh>") == "<***>"
    assert masks("<aaaaaa>") == "<***>"


def test_the_order_of_secrets_makes_no_difference() -> None:
    assert Masks(["hunt", "hunter22"])("hunter22") == "***"
    assert Masks(["hunter22", "hunt"])("hunter22") == "***"
