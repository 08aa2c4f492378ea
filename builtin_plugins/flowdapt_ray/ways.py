"""How a task is submitted: what of Ray's resources it takes, and which processes may compute it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from flowdapt_ray import labels, names

WAYS = 256  #: combinations of resources and code that are kept prepared
LANES = 32  #: registrations of the function

_NAMES = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": "memory"}


class Ways:
    """The one remote function, prepared for what calls ask for.

    Where tasks of a function wait for others, Ray lends their processors, but starts more tasks of
    that function only a second later, then two, four and so on. What they wait for may be such a
    task; so the function is registered again and again, and each registration is a lane.

    :param registered: registers it with Ray
    :param strategy: how Ray chooses a node
    :param selector: among which, by their labels
    :raises ValueError: Ray refuses that
    """

    def __init__(
        self, registered: Callable[[], Any], strategy: str | None, selector: Mapping[str, str]
    ) -> None:
        self._registered, self._strategy, self._selector = registered, strategy, selector
        self._functions: dict[int, Any] = {}
        self._known: OrderedDict[Any, Any] = OrderedDict()
        self.of({}, "", frozenset())

    def of(
        self, wanted: Mapping[str, float], code: str, unfit: frozenset[str], lane: int = 0
    ) -> Any:
        """Return what submits a task.

        :param wanted: resources, by our names
        :param code: the snapshot that its process serves
        :param unfit: ids of nodes that cannot compute it
        :param lane: one in which no task waits for others; 0 to ``LANES - 1``
        """
        key = code, tuple(sorted(wanted.items())), unfit, lane
        if key not in self._known:
            options = self._options(wanted, code)
            if selector := labels.without(unfit, self._selector):
                options["label_selector"] = selector
            if lane not in self._functions:
                self._functions[lane] = self._registered()
            self._known[key] = self._functions[lane].options(**options)
            if len(self._known) > WAYS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _options(self, wanted: Mapping[str, float], code: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        labels = {name: amount for name, amount in wanted.items() if name not in _NAMES and amount}
        for name, amount in wanted.items():
            if name in _NAMES and amount:
                options[_NAMES[name]] = int(amount) if name == "memory" else amount
        if labels:
            options["resources"] = labels
        if self._strategy is not None:
            options["scheduling_strategy"] = self._strategy
        if code:  # of two environments, Ray makes separate processes
            options["runtime_env"] = {"env_vars": {names.CODE: code}}
        return options
