"""The suites of :mod:`flowdapt.testing`: what every implementation of a contract does."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_suites() -> list[Provider]:
    return [
        Provider("ExecutorSuite", "flowdapt_testing.executors:ExecutorSuite", "Computing stages."),
        Provider("StorageSuite", "flowdapt_testing.resources:StorageSuite", "Keeping what there is."),
    ]
