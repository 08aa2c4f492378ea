"""The suites of :mod:`flowdapt.testing`: what every implementation of a contract does."""

from flowdapt.hooks import Provider, hookimpl

_SUITES = {
    "MemorySuite": ("memories", "What every memory does."),
    "ArtifactsSuite": ("artifacts", "Keeping values as files."),
    "SimulatedClock": ("clocks", "A clock that tests set."),
    "TimeRuleSuite": ("rules", "Rules that go by time."),
    "EventRuleSuite": ("event_rules", "Rules that events meet."),
    "ExecutorSuite": ("executors", "Computing stages."),
    "ProcessExecutorSuite": ("executors", "Computing stages in other processes."),
    "WorkerSuite": ("workers", "Workers that import user modules, die, and are told to stop."),
    "AsyncCallSuite": ("calls", "Async stages that call other workflows."),
    "CallSuite": ("calls", "Stages that call other workflows."),
    "ProcessCallSuite": ("calls", "Stages that do so in other processes."),
    "StorageSuite": ("resources", "Keeping resources, runs and events."),
    "DurableStorageSuite": ("resources", "Keeping them beyond the process."),
}


@hookimpl
def flowdapt_suites() -> list[Provider]:
    return [
        Provider(name, f"flowdapt_testing.{module}:{name}", text)
        for name, (module, text) in _SUITES.items()
    ]
