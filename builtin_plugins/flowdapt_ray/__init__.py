"""Computes stages on a Ray cluster, and shares their objects there."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_executors() -> list[Provider]:
    return [
        Provider(
            "ray",
            "flowdapt_ray.executor:RayExecutor",
            "A Ray cluster.",
            extra="ray",
            aliases=(
                "flowdapt.compute.executor.ray.RayExecutor",
                "flowdapt.compute.executor.ray.executor.RayExecutor",
            ),
        ),
    ]


@hookimpl
def flowdapt_memories() -> list[Provider]:
    return [
        Provider(
            "ray", "flowdapt_ray.memory:served", "Objects on a Ray cluster; for that executor."
        )
    ]
