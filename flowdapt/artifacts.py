"""Artifacts: files and metadata under a name, on this machine or in an object storage.

The plugin ``flowdapt_artifacts`` brings what is in here: :class:`Artifact`, the functions that find
artifacts where the settings say, and hooks that write values as files of common formats::

    from flowdapt import objects
    from flowdapt.artifacts import dataframe_to_artifact

    objects.put("prices", frame, strategy="artifact", save_artifact_hook=dataframe_to_artifact())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdapt.plugins import offered

if TYPE_CHECKING:
    from flowdapt_artifacts.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name.startswith("_"):  # Python asks every module for a few of these
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(offered("exports", "artifacts"), name))
