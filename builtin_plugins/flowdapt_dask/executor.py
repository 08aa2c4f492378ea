"""Computes stages on a Dask cluster: one of this machine, or one that runs already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt_workers.remote import RemoteExecutor

from flowdapt.resources import amounts

NUMBER = (int, float)
TEXT = (str,)
TABLE = (dict,)
FLAG = (bool,)
#: what may be given for each key, beside nothing
KINDS: Mapping[str, tuple[type, ...]] = {
    "cluster_address": TEXT,
    "scheduler_host": TEXT,
    "scheduler_port": (int,),
    "scheduler_scheme": TEXT,
    "dashboard_port": (int, bool),
    "cpus": (*NUMBER, str),
    "gpus": (*NUMBER, str),
    "memory": (*NUMBER, str),
    "resources": TABLE,
    "env_vars": TABLE,
    "cpu_watts": NUMBER,
    "gpu_watts": NUMBER,
    "security": TABLE,
}
WORDS = {int: "a number", float: "a number", str: "a text", dict: "a table", bool: "true or false"}


class DaskExecutor(RemoteExecutor):
    """Workers of a Dask cluster, each with processes of its own for stages.

    :param cluster_address: of a scheduler, such as ``tcp://10.0.0.1:8786``; without it a cluster
        of this machine is started
    :param security: of the connection: the keys of :class:`distributed.Security`, such as
        ``tls_ca_file``; without it Dask's own configuration counts
    :param cpus: of a cluster that is started, like all that follow; by default those there are
    :param gpus: devices; by default those that the machine shows
    :param memory: bytes, also as ``8GB``; by default what the machine has
    :param resources: amounts of further resources, by label
    :param scheduler_host: where its scheduler listens, for further workers; without this and
        ``scheduler_port`` it listens nowhere
    :param scheduler_port: likewise
    :param scheduler_scheme: ``tcp`` or ``tls``
    :param dashboard_port: where its pages are, on this machine; 0 takes a free one, and ``false``
        makes it start in half the time
    :param env_vars: environment variables for stages, on every cluster
    :param cpu_watts: see :class:`~flowdapt_workers.remote.RemoteExecutor`, as ``gpu_watts``
    :param adaptive: nodes come and go, which is what ``elastic`` means
    :param threads: of earlier releases, like ``pip`` and ``upload_plugins``, and without effect
    """

    kind = "dask"
    name = "Dask"
    cluster = "flowdapt_dask.cluster:DaskCluster"
    memory = "dask"
    objects = "flowdapt_dask.memory:attach"

    def __init__(
        self,
        *,
        elastic: bool = False,
        adaptive: bool = False,
        threads: Any = None,
        pip: Any = None,
        upload_plugins: Any = None,
        **options: Any,
    ) -> None:
        del threads, pip, upload_plugins  # a process computes one order, from its own code
        for key, flag in (("elastic", elastic), ("adaptive", adaptive)):
            _check(key, flag, FLAG)
        if unknown := sorted(set(options) - set(KINDS)):
            raise TypeError(f"the Dask executor has no option {unknown[0]!r}")
        given = {key: value for key, value in options.items() if value not in (None, "auto")}
        for key, value in given.items():
            _check(key, value, KINDS[key])
        for key in ("cpus", "gpus", "memory"):
            if key in given:
                given |= amounts({key: given[key]})
        if "resources" in given:
            given["resources"] = amounts(given["resources"])
        super().__init__(elastic=elastic or adaptive, **given)


def _check(key: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Refuse an option of a wrong type.

    :raises TypeError: naming it
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(dict.fromkeys(WORDS[kind] for kind in kinds))
        raise TypeError(f"the option {key!r} of the Dask executor must be {wanted}, not {value!r}")
