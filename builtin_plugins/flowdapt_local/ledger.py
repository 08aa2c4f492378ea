"""What the machine has, and what of it is in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flowdapt_workers.submitting import LEAST_CPUS

from flowdapt.errors import NeverFits

_SLACK = 1e-9  #: sums of fractions are not exact


@dataclass(frozen=True, slots=True)
class Taken:
    """Amounts that are in use.

    :param gpus: indices of the devices to be seen by the process
    :param share: how much of each of these devices
    """

    amounts: Mapping[str, float]
    gpus: tuple[int, ...] = ()
    share: float = 0.0


class Ledger:
    """Gives out resources and takes them back.

    :param total: amounts of everything but ``gpus``, ``memory`` in bytes
    :param gpus: how many devices there are
    """

    def __init__(self, total: Mapping[str, float], gpus: int = 0) -> None:
        self.total = {**total, "gpus": float(gpus)}
        self.free = dict(total)
        self.free_gpus = [1.0] * gpus

    def wanted(self, stage: str, resources: Mapping[str, float]) -> dict[str, float]:
        """Return what a call needs: what it asks for, and a processor where it says nothing.

        :raises NeverFits: it asks for more than there is
        """
        wanted = {"cpus": 1.0, **resources}
        wanted["cpus"] = max(wanted["cpus"], LEAST_CPUS)
        for name, amount in wanted.items():
            if amount > self.total.get(name, 0.0) + _SLACK:
                raise NeverFits(stage, name, amount, self.total.get(name, 0.0))
        if wanted.get("gpus", 0) > 1:  # whole devices only, above one
            wanted["gpus"] = float(-int(-wanted["gpus"] // 1))
        return wanted

    def take(self, wanted: Mapping[str, float]) -> Taken | None:
        """Return what is taken, or nothing where it does not fit now."""
        amounts = {name: amount for name, amount in wanted.items() if name != "gpus"}
        if any(amount > self.free[name] + _SLACK for name, amount in amounts.items()):
            return None
        gpus, share = self._devices(wanted.get("gpus", 0.0))
        if gpus is None:
            return None
        for name, amount in amounts.items():
            self.free[name] -= amount
        for gpu in gpus:
            self.free_gpus[gpu] -= share
        return Taken(amounts, gpus, share)

    def _devices(self, asked: float) -> tuple[tuple[int, ...] | None, float]:
        if asked <= 0:
            return (), 0.0
        if asked > 1:
            whole = [i for i, free in enumerate(self.free_gpus) if free >= 1 - _SLACK]
            return (tuple(whole[: int(asked)]) if len(whole) >= asked else None), 1.0
        fitting = [i for i, free in enumerate(self.free_gpus) if free >= asked - _SLACK]
        # The fullest that fits, so that whole devices stay free for those who need them.
        fullest = min(fitting, key=lambda i: self.free_gpus[i], default=None)
        return (None if fullest is None else (fullest,)), asked

    def give(self, taken: Taken) -> None:
        """Take back what :meth:`take` gave."""
        for name, amount in taken.amounts.items():
            self.free[name] += amount
        for gpu in taken.gpus:
            self.free_gpus[gpu] += taken.share

    def give_cpus(self, taken: Taken) -> Taken:
        """Take back the processors only, and return what is still held."""
        self.free["cpus"] += taken.amounts.get("cpus", 0.0)
        return replace(taken, amounts={k: v for k, v in taken.amounts.items() if k != "cpus"})

    def take_cpus(self, taken: Taken, amount: float) -> Taken:
        """Take processors again whose owner had given them back, though others may have them."""
        self.free["cpus"] -= amount
        return replace(taken, amounts={**taken.amounts, "cpus": amount})

    @property
    def exhausted(self) -> bool:
        """Whether no call fits, however little it needs."""
        return self.free["cpus"] < LEAST_CPUS - _SLACK
