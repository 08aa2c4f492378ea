"""What it takes to compute a stage: memory, devices, bytes, and roughly how much energy."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdapt_workers.calls import Done, Failed, Value

#: Joules of a second of one processor, and of one GPU, at full load: what Green Algorithms takes
#: where a model is not known (https://doi.org/10.1002/advs.202100707, ``TDP_cpu.csv`` and
#: ``TDP_gpu.csv``, row ``Any``). Memory, idling and cooling are not in them.
CPU_WATTS, GPU_WATTS = 12.0, 200.0


def watts(cpu: float | str, gpu: float | str) -> tuple[float, float]:
    """Return what is set for a processor and for a GPU.

    :raises ValueError: one is no number, or less than 0
    """
    found = []
    for name, value in (("cpu_watts", cpu), ("gpu_watts", gpu)):
        try:
            found.append(float(value))
        except (TypeError, ValueError):
            found.append(-1.0)
        if not 0 <= found[-1] < math.inf:
            raise ValueError(f"{name} must be a number that is not negative, not {value!r}")
    return found[0], found[1]


class Peak:
    """The most memory that this process had since it began to compute something.

    That is what of it was resident, whoever touched it: the interpreter, modules, and pages of
    shared memory that were read or written too. The kernel keeps the mark; to reset it takes half a
    microsecond and to read it one, whatever the process holds (``/proc/self/status``, which has it
    as well, takes thirty). Where it cannot be reset it is that of the process's whole life.

    While async functions wait, others are computed beside them. What they are told is the most that
    the process had meanwhile, those others included.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}
        try:
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY)
            self.begin()
        except OSError:  # such as on other systems than Linux, or where /proc cannot be written
            self._reset = -1

    def begin(self) -> None:
        """Begin to compute something, at which only this process is."""
        if self._waiting:
            now = _resident()
            for number, most in list(self._waiting.items()):
                self._waiting[number] = max(most, now)
        if self._reset >= 0:
            os.write(self._reset, b"5")  # see proc_pid_clear_refs(5)

    def end(self) -> int:
        """Return the bytes since then."""
        return _resident()

    def wait(self, number: int) -> None:
        """Go on with something beside others."""
        self._waiting[number] = _resident()

    def end_of(self, number: int) -> int:
        """Return the bytes since something went on beside others."""
        return max(self._waiting.pop(number, 0), _resident())


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Use:
    """What the units of a job used so far, whatever they ended with.

    Nobody knows it of those whose worker died, nor of those that are still computed.

    :param gpus: that each of them holds while it is computed
    :param argument_bytes: of what it takes from other stages, pickled, each once
    :ivar cpu_seconds: absent as long as nothing was computed
    """

    gpus: float = 0.0
    argument_bytes: int = 0
    cpu_watts: float = CPU_WATTS
    gpu_watts: float = GPU_WATTS
    cpu_seconds: float | None = None
    gpu_seconds: float = 0.0
    peak_memory_bytes: int = 0

    @classmethod
    def of(cls, gpus: float, args: Sequence[Value]) -> Use:
        """Return that of a job of which nothing was computed yet."""
        return cls(gpus, sum(value.size for value in args) if args else 0)

    def add(self, answer: Done | Failed) -> None:
        """Count a unit."""
        self.cpu_seconds = (self.cpu_seconds or 0.0) + answer.cpu_seconds
        self.gpu_seconds += answer.seconds * self.gpus
        self.peak_memory_bytes = max(self.peak_memory_bytes, answer.peak_memory_bytes)

    def told(self) -> dict[str, float]:
        """Return it as it is kept of a stage."""
        if self.cpu_seconds is None:
            return {"argument_bytes": self.argument_bytes}
        joules = self.cpu_seconds * self.cpu_watts + self.gpu_seconds * self.gpu_watts
        return {
            "peak_memory_bytes": self.peak_memory_bytes,
            "gpu_seconds": self.gpu_seconds,
            "argument_bytes": self.argument_bytes,
            "energy_joules": joules,
        }
