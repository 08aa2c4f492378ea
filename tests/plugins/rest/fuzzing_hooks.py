"""Makes valid requests also mean something: what no schema can say, and names that there are."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

import schemathesis

RUN = os.environ["FUZZED_RUN"]
TRUE = ("true", "1", "yes", "on")
numbers = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Change a request that is to be accepted, where it would be refused for another reason."""
    del context, kwargs
    if case.query and str(case.query.get("watch")).lower() in TRUE:
        case.query["watch"] = "false"  # or it would be answered for ever
    meta = case.meta
    if meta is not None and not meta.generation.mode.is_positive:
        return
    if case.headers and "Idempotency-Key" in case.headers:
        # Whole, not a number at its end: `0` was also sent as it is, with another input.
        case.headers["Idempotency-Key"] = f"only-once-{next(numbers)}"
    if isinstance(case.body, dict):
        case.body.update(_within_64_bits(case.body))
    if isinstance(case.body, dict) and "metadata" in case.body:
        _sound(case.body, "echo" if case.method == "PUT" else f"name-{next(numbers)}")
    if (case.query or {}).get("fieldValidation") == "Strict":
        case.query["fieldValidation"] = "Warn"
    if case.method != "DELETE" and "identifier" in (case.path_parameters or {}):
        case.path_parameters["identifier"] = RUN if "/run/{" in case.path else "echo"
    if case.method != "DELETE" and case.path.startswith(("/objects/{", "/artifacts/{")):
        case.path_parameters.update(dict.fromkeys(case.path_parameters, "echo"))


def _within_64_bits(value: Any) -> Any:
    """Return a value without integers that are refused because JSON's readers change them."""
    if isinstance(value, dict):
        return {key: _within_64_bits(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(part) for part in value]
    return 0 if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


def _sound(body: dict[str, Any], name: str) -> None:
    body["metadata"]["name"] = name
    body["spec"].pop("selector", None)
    for number, stage in enumerate(body["spec"].get("stages", ())):
        stage |= {"name": f"stage-{number}", "type": "simple"}
        for key in ("depends_on", "options", "resources"):
            stage.pop(key, None)
