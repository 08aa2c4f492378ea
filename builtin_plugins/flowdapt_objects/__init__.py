"""Objects by name, from any process: ``flowdapt.objects``."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [
        Provider("objects", f"{__name__}.calls:NAMES", "Values that are shared by name."),
        Provider("places", f"{__name__}.outside:places", "Where they are outside of runs."),
    ]


@hookimpl(optionalhook=True)  # there are no routes without the HTTP interface
def flowdapt_routes() -> list[Provider]:
    return [Provider("objects", f"{__name__}.routes:routes")]
