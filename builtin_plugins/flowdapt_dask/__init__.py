"""Computes stages on a Dask cluster, and shares their objects there."""

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


@hookimpl
def flowdapt_memories() -> list[Provider]:
    return [
        Provider(
            "dask", "flowdapt_dask.memory:served", "Objects on a Dask cluster; for that executor."
        )
    ]
