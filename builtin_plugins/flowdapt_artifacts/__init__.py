"""Keeps artifacts: files under a name, on this machine or in an object storage."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_artifacts() -> list[Provider]:
    return [Provider("fsspec", "flowdapt_artifacts.store:Store", "Files, wherever fsspec reaches.")]


@hookimpl(optionalhook=True)  # there are no routes without the HTTP interface
def flowdapt_routes() -> list[Provider]:
    return [Provider("artifacts", f"{__name__}.routes:routes")]


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [
        Provider("artifacts", f"{__name__}.public:NAMES", "Files under a name."),
        Provider("models", f"{__name__}.models:NAMES", "Fitted models by key."),
    ]
