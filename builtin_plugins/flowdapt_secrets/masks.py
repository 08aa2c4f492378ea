"""Takes secrets out of texts, also where they stand there in another form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "***"  #: what stands in place of a secret
LEAST = 4  #: characters; what is shorter stands in texts by chance
LEAST_LINE = 8  #: characters of a line of a secret with several, such as a private key


class Masks:
    """What is hidden, in every form in which it may be written.

    :param values: the secrets
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._forms = {form for value in values for form in _forms(value)}

    def __call__(self, text: str) -> str:
        """Return ``text`` with each secret in it replaced; where several overlap, all of them."""
        # No regular expression: `re` keeps what it compiled, and there would be the secrets.
        spans = sorted(span for form in self._forms for span in _spans(text, form))
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            if start > end or not parts:
                parts += (text[end:start], HIDDEN)
            end = max(end, stop)
        return "".join((*parts, text[end:])) if parts else text


def _spans(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _forms(value: str) -> Iterator[str]:
    """Yield how a value may be written: as it is, line by line, and as JSON, Python and URLs."""
    lines = [line.strip() for line in value.splitlines()]
    long = [line for line in lines if len(line) >= LEAST_LINE]
    for text in {value, value.strip(), *long}:
        if len(text.strip()) < LEAST:
            continue
        shown = repr(text)[1:-1].replace("\\'", "'")
        yield from (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        yield from (shown, shown.replace("'", "\\'"), repr(text.encode())[2:-1])
        yield from (quote(text), quote(text, safe=""), quote_plus(text))
