"""What programs find in ``flowdapt.artifacts``."""

from __future__ import annotations

import sys

from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.dataset import (
    array_from_artifact,
    array_to_artifact,
    dataframe_from_artifact,
    dataframe_to_artifact,
)
from flowdapt_artifacts.errors import (
    ArtifactChanged,
    ArtifactCorrupt,
    ArtifactError,
    ArtifactNotWritten,
)
from flowdapt_artifacts.file import ArtifactFile
from flowdapt_artifacts.handlers import get_handler_func, register_handler
from flowdapt_artifacts.running import (
    check_if_artifact_exists,
    get_artifact,
    list_artifacts,
    new_artifact,
    sweep,
)
from flowdapt_artifacts.store import Store
from flowdapt_artifacts.values import (
    json_from_artifact,
    json_to_artifact,
    pickle_from_artifact,
    pickle_to_artifact,
)

__all__ = [
    "Artifact",
    "ArtifactChanged",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactFile",
    "ArtifactNotWritten",
    "Store",
    "array_from_artifact",
    "array_to_artifact",
    "check_if_artifact_exists",
    "dataframe_from_artifact",
    "dataframe_to_artifact",
    "get_artifact",
    "get_handler_func",
    "json_from_artifact",
    "json_to_artifact",
    "list_artifacts",
    "new_artifact",
    "pickle_from_artifact",
    "pickle_to_artifact",
    "register_handler",
    "sweep",
]

NAMES = sys.modules[__name__]  #: what is exported as one
