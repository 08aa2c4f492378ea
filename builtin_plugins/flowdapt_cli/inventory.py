"""What people read of objects and artifacts, made of what a server tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowdapt_cli.sizes import size
from flowdapt_cli.times import age, clock

PLACES = ("memory", "disk", "artifact")

Facts = Mapping[str, Any]


def row(entry: Facts) -> dict[str, Any]:
    """Return what a table says of an object."""
    return {
        "key": entry["key"],
        "namespace": entry["namespace"],
        "place": entry["place"],
        "size": size(entry["size"]),
        "type": entry["type"],
        "created": age(entry["created"]),
        "expires": _clock(entry["expires"]),
    }


def facts_of(entry: Facts) -> dict[str, Any]:
    """Return all that is known of an object."""
    exact = f"{size(entry['size'])} ({entry['size']:,} bytes)"
    times = {name: _clock(entry[name]) for name in ("created", "expires")}
    return {**entry, "size": exact, **times}


def usage(stats: Facts) -> dict[str, str]:
    """Return how full the memory is."""
    used, capacity = stats.get("used"), stats.get("capacity")
    share = f" ({used / capacity:.0%})" if used is not None and capacity else ""
    return {
        "capacity": size(capacity),
        "used": f"{size(used)}{share}",
        "to be used again": size(stats.get("free")),
        "on disk": size(stats.get("on_disk")),
    }


def sums(stats: Facts) -> Sequence[dict[str, Any]]:
    """Return the rows of a table of namespaces."""
    return [
        {
            "namespace": one["namespace"],
            "objects": one["objects"],
            **{place: size(one[place]) for place in PLACES},
        }
        for one in stats["namespaces"]
    ]


def artifact_row(entry: Facts) -> dict[str, Any]:
    """Return what a table says of an artifact."""
    return {
        "name": entry["name"],
        "namespace": entry["namespace"],
        "size": size(entry["size"]),
        "type": entry["type"],
        "saved": age(entry["saved"]),
    }


def artifact_facts(artifact: Facts) -> dict[str, Any]:
    """Return all that is known of an artifact but its files."""
    known = {name: value for name, value in artifact.items() if name != "files"}
    versions = ", ".join(map(str, artifact["versions"]))
    exact = f"{size(artifact['size'])} ({artifact['size']:,} bytes)"
    return known | {"size": exact, "saved": _clock(artifact["saved"]), "versions": versions}


def file_rows(artifact: Facts) -> Sequence[dict[str, Any]]:
    """Return the rows of a table of files."""
    return [{"file": file["name"], "size": size(file["size"])} for file in artifact["files"]]


def _clock(time: str | None) -> str:
    return clock(time) if time else ""
