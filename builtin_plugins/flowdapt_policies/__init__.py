"""Options of stages and workflows that say how they are computed: conditions, limits, caches."""

from flowdapt.hooks import Provider, hookimpl

_HERE = "flowdapt_policies"


@hookimpl
def flowdapt_policies() -> list[Provider]:
    return [
        Provider("targets", f"{_HERE}.targets:Targets", "Refuses targets that are mistyped."),
        Provider("attempts", f"{_HERE}.attempts:Executors", "Attempts, time limits, groups."),
        Provider("recovery", f"{_HERE}.recovery:Recovery", "What a killed server leaves behind."),
        Provider("durable", f"{_HERE}.recovery:Durable", "Large results outlive a server."),
        Provider("retention", f"{_HERE}.recovery:Retention", "How long ended runs are kept."),
        Provider("admission", f"{_HERE}.admission:Admission", "Runs of one workflow at once."),
        Provider("limits", f"{_HERE}.limits:Limits", "How long runs and stages may take."),
        Provider("fallbacks", f"{_HERE}.fallbacks:Fallbacks", "What stands in for a failure."),
        Provider("conditions", f"{_HERE}.conditions:Conditions", "Whether a stage is computed."),
        Provider("cache", f"{_HERE}.cache:Cache", "Results that are used again."),
        Provider("thresholds", f"{_HERE}.thresholds:Thresholds", "How many elements may fail."),
    ]
