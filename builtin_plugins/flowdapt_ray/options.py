"""The options of the executor: what each may be, and what it becomes for Ray."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: options of earlier releases that have no meaning any more, and harm nobody
FORMER = frozenset(
    {
        "base_reconnect_delay",
        "cluster_memory_actor",
        "connection_monitor_interval",
        "mapper_actor",
        "max_reconnect_delay",
        "max_reconnect_retries",
        "ping_failure_threshold",
        "ping_timeout",
        "tasks_per_worker",
        "upload_plugins",
    }
)
STRATEGIES = ("DEFAULT", "SPREAD")  #: how Ray may choose among nodes

_SPACES = re.compile(r"\s*([,()])\s*")

DASHBOARD = "127.0.0.1", 9969  #: where the dashboard of a cluster of our own listens by default


@dataclass
class Options:
    """The options, sorted by who takes them.

    :param address: of the cluster to connect to; absent where one is to be started
    :param local: arguments of ``ray.init`` that only a cluster of our own can have
    :param any: arguments of ``ray.init``
    :param runtime_env: what the processes of the cluster are to find
    :param strategy: how a node is chosen for a task
    :param selector: which nodes compute, by their labels
    """

    address: str | None = None
    local: dict[str, Any] = field(default_factory=dict)
    any: dict[str, Any] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict)
    strategy: str | None = None
    selector: dict[str, str] = field(default_factory=dict)


def sorted_out(options: Mapping[str, Any]) -> Options:
    """Sort options; those that are ``None`` are as if they were not given.

    :raises ValueError: naming the option and what would be right, like ``TypeError``
    """
    made = Options()
    for key, value in options.items():
        if value is None or key in FORMER:
            continue
        if key not in _KNOWN:
            made.any[key] = value
            continue
        check, keep = _KNOWN[key]
        if (checked := check(key, value)) is not None:
            keep(made, checked)
    if made.address is None:
        host, port = DASHBOARD
        made.local = {"dashboard_host": host, "dashboard_port": port} | made.local
    return made


# What an option may be ---------------------------------------------------------------------------


def _of(*types: type) -> Callable[[str, Any], Any]:
    """Return a check that a value is of one of these types."""

    def check(key: str, value: Any) -> Any:
        if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
            return value
        names = " or ".join(one.__name__.lower() for one in types)
        raise TypeError(f"{key} must be a {names}, not {value!r}")

    return check


def _whole(key: str, value: Any) -> int:
    """Return a whole number, which may come as text from the environment."""
    try:
        if isinstance(value, bool) or int(value) != float(value) or int(value) < 0:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"{key} must be a whole number, not {value!r}") from None
    return int(value)


def _count(key: str, value: Any) -> int | None:
    return None if value == "auto" else _whole(key, value)


def _amounts(key: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{key} must be a mapping of names to amounts, not {value!r}")
    for name, amount in value.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
            raise ValueError(f"{key}.{name} must be an amount, not {amount!r}")
    return dict(value)


def _texts(key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{key} must be a mapping of names to texts, not {value!r}")
    return {str(name): str(text) for name, text in value.items()}


def _selector(key: str, value: Any) -> dict[str, str]:
    """Return a selector without the spaces that Ray would take for parts of labels."""
    return {name: _SPACES.sub(r"\1", text) for name, text in _texts(key, value).items()}


def _strategy(key: str, value: Any) -> str:
    if not isinstance(value, str) or value.upper() not in STRATEGIES:
        raise ValueError(f"{key} must be one of {', '.join(STRATEGIES)}, not {value!r}")
    return value.upper()


# What it becomes ---------------------------------------------------------------------------------

_Check = Callable[[str, Any], Any]
_Keep = Callable[[Options, Any], None]


def _local(name: str) -> _Keep:
    return lambda options, value: options.local.__setitem__(name, value)


def _any(name: str) -> _Keep:
    return lambda options, value: options.any.__setitem__(name, value)


def _runtime(name: str) -> _Keep:
    return lambda options, value: options.runtime_env.__setitem__(name, value)


_KNOWN: dict[str, tuple[_Check, _Keep]] = {
    "cluster_address": (_of(str), lambda o, value: setattr(o, "address", value or None)),
    "strategy": (_strategy, lambda o, value: setattr(o, "strategy", value)),
    "label_selector": (_selector, lambda o, value: setattr(o, "selector", value)),
    "cpus": (_count, _local("num_cpus")),
    "gpus": (_count, _local("num_gpus")),
    "resources": (_amounts, _local("resources")),
    "object_store_memory": (_count, _local("object_store_memory")),
    "dashboard_host": (_of(str), _local("dashboard_host")),
    "dashboard_port": (_whole, _local("dashboard_port")),
    "include_dashboard": (_of(bool), _local("include_dashboard")),
    "log_to_driver": (_of(bool), _any("log_to_driver")),
    "logging_level": (_of(int, str), _any("logging_level")),
    "runtime_env": (_of(dict), lambda o, value: o.runtime_env.update(value)),
    "working_dir": (_of(str), _runtime("working_dir")),
    "py_modules": (_of(list), _runtime("py_modules")),
    "pip": (_of(list, dict, str), _runtime("pip")),
    "conda": (_of(dict, str), _runtime("conda")),
    "env_vars": (_texts, _runtime("env_vars")),
    "container": (_of(dict), _runtime("container")),
    "runtime_env_config": (_of(dict), _runtime("config")),
}
