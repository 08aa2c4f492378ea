"""Triggers: something is done at certain times, or because something happened."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_kinds() -> list[Provider]:
    return [Provider("trigger_rule", f"{__name__}.resource:TriggerRule", "A rule and an action.")]
