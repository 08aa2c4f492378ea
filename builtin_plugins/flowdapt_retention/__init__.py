"""Removes runs and events that are past the time for which they are kept."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_services() -> list[Provider]:
    return [
        Provider(
            "retention",
            "flowdapt_retention.service:RetentionService",
            "Removes what is past its retention; without it, everything is kept.",
        )
    ]
