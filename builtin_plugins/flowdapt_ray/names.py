"""How the parts of one server find one another on a cluster that others use, too."""

from __future__ import annotations

from typing import Any

NAMESPACE = "flowdapt"  #: of Ray, in which names are looked up

# Variables of the processes that compute.
SERVER = "FLOWDAPT_RAY_SERVER"  #: a name that no other server has
CODE = "FLOWDAPT_CODE"  #: the snapshot of user modules that a process serves, for life


def actor_of(server: str) -> str:
    """Return the name of the actor of a server."""
    return f"flowdapt-{server}"


def actor(server: str) -> Any:
    """Return the actor of a server, from any process of the cluster.

    :raises ValueError: there is none
    """
    import ray

    return ray.get_actor(actor_of(server), namespace=NAMESPACE)
