"""Computes stages on a Dask cluster."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_executors() -> list[Provider]:
    return [
        Provider(
            "dask",
            "flowdapt_dask.executor:DaskExecutor",
            "A Dask cluster.",
            extra="dask",
            aliases=(
                "flowdapt.compute.executor.dask.DaskExecutor",
                "flowdapt.compute.executor.dask.executor.DaskExecutor",
            ),
        ),
    ]
