"""As in earlier releases; see ``flowdapt.artifacts``."""

from flowdapt.artifacts import (
    json_from_artifact,
    json_to_artifact,
    pickle_from_artifact,
    pickle_to_artifact,
)

__all__ = ["json_from_artifact", "json_to_artifact", "pickle_from_artifact", "pickle_to_artifact"]
