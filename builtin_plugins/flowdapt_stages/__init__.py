"""The types of stages that come with flowdapt."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_stages() -> list[Provider]:
    where = "flowdapt_workers.targets"
    return [
        Provider("simple", f"{where}:Simple", "Called once."),
        Provider("parameterized", f"{where}:Parameterized", "Called for each element of a list."),
    ]
