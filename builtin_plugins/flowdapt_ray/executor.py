"""Computes stages on a Ray cluster: what of it is in the server."""

from __future__ import annotations

from typing import Any

from flowdapt_workers.remote import RemoteExecutor

from flowdapt_ray.options import sorted_out


class RayExecutor(RemoteExecutor):
    """A Ray cluster: one that runs already, or one on this machine that ends with the server.

    Ray chooses the node for each call, by what it asks for, and its object store keeps what stages
    return. Nothing of Ray is imported into the server.

    :param cluster_address: of a cluster, ``host:port`` of its head node or ``auto`` for the one
        that this machine belongs to; this machine must be a node of it. Absent, one is started
    :param strategy: how Ray chooses a node, ``DEFAULT`` or ``SPREAD``
    :param label_selector: which nodes compute, by Ray's labels, such as
        ``{"ray.io/market-type": "!spot"}``
    :param cpus: of the cluster that is started, like ``gpus``, ``resources`` (amounts by label),
        ``object_store_memory`` (bytes), ``dashboard_host``, ``dashboard_port`` and
        ``include_dashboard``
    :param elastic: see :class:`~flowdapt_workers.remote.RemoteExecutor`; set it where an
        autoscaler adds nodes
    :param cpu_watts: likewise, as ``gpu_watts``
    :param working_dir: for the processes of the cluster, a part of Ray's runtime environment like
        ``py_modules``, ``pip``, ``conda``, ``env_vars``, ``container`` and ``runtime_env_config``
    :param options: further arguments of ``ray.init``
    """

    kind = "ray"
    name = "Ray"
    cluster = "flowdapt_ray.cluster:RayCluster"
    memory = "ray"
    objects = "flowdapt_ray.memory:attach"

    def __init__(self, *, elastic: bool = False, **options: Any) -> None:
        if not isinstance(elastic, bool):
            raise TypeError(f"elastic must be true or false, not {elastic!r}")
        powers = {key: options.pop(key) for key in ("cpu_watts", "gpu_watts") if key in options}
        sorted_out(options)  # so that a mistake is known before anything is started
        super().__init__(elastic=elastic, **powers, **options)
