"""As in earlier releases; see ``flowdapt.artifacts``."""

from flowdapt.artifacts import (
    Artifact,
    ArtifactFile,
    check_if_artifact_exists,
    get_artifact,
    list_artifacts,
    new_artifact,
)

__all__ = [
    "Artifact",
    "ArtifactFile",
    "check_if_artifact_exists",
    "get_artifact",
    "list_artifacts",
    "new_artifact",
]
