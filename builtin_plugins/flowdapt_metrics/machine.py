"""What this process and its machine use."""

from __future__ import annotations

import gc

import psutil

from flowdapt_metrics.instruments import Attributes, Counter, Gauge, Instrument


class Machine:
    """Instruments that are read from the system."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._gauges: dict[str, Gauge] = {}
        psutil.cpu_times_percent()  # what is measured is the time since the last call

    @property
    def instruments(self) -> list[Instrument]:
        """Everything that was read so far."""
        return [*self._gauges.values()]

    def read(self) -> None:
        """Read everything; takes about a millisecond."""
        self._read_process()
        self._read_system()
        self._read_disks_and_network()

    def _read_process(self) -> None:
        process, prefix = self._process, "process.runtime.cpython"
        with process.oneshot():
            cpu, memory = process.cpu_times(), process.memory_info()
            threads = process.num_threads()
        about = "Processor time of this process."
        self._count(f"{prefix}.cpu_time", cpu.user, "s", about, type="user")
        self._count(f"{prefix}.cpu_time", cpu.system, "s", about, type="system")
        about = "Memory of this process."
        self._set(f"{prefix}.memory", memory.rss, "By", about, type="rss")
        self._set(f"{prefix}.memory", memory.vms, "By", about, type="vms")
        self._set(f"{prefix}.thread_count", threads, "1", "Threads of this process.")
        self._set("process.open_file_descriptor.count", process.num_fds(), "1", "Open files.")
        for generation, facts in enumerate(gc.get_stats()):
            about, count = "How often garbage was collected.", facts["collections"]
            self._count(f"{prefix}.gc_count", count, "1", about, generation=str(generation))

    def _read_system(self) -> None:
        cpu, memory = psutil.cpu_times_percent(), psutil.virtual_memory()
        for state in ("user", "system", "idle", "iowait"):
            about, share = "Share of the processors' time.", getattr(cpu, state, 0.0) / 100
            self._set("system.cpu.utilization", share, "1", about, state=state)
        for state in ("used", "free", "cached"):
            size = getattr(memory, state, 0)  # not every system has a cache
            share = size / memory.total
            self._set("system.memory.usage", size, "By", "Memory of the machine.", state=state)
            about = "Share of the machine's memory."
            self._set("system.memory.utilization", share, "1", about, state=state)

    def _read_disks_and_network(self) -> None:
        disks, network = psutil.disk_io_counters(), psutil.net_io_counters()
        for direction in ("read", "write"):  # 0 where there are none, as clients want points
            count = getattr(disks, f"{direction}_count", 0)
            size = getattr(disks, f"{direction}_bytes", 0)
            about = "How often disks were read and written."
            self._count("system.disk.operations", count, "1", about, direction=direction)
            about = "Bytes read from and written to disks."
            self._count("system.disk.io", size, "By", about, direction=direction)
        for direction, field in (("transmit", "bytes_sent"), ("receive", "bytes_recv")):
            about = "Bytes sent and received."
            size = getattr(network, field, 0)
            self._count("system.network.io", size, "By", about, direction=direction)

    def _set(self, name: str, value: float, unit: str, about: str, **of: str) -> None:
        self._instrument(Gauge, name, unit, about).set(float(value), _attributes(of))

    def _count(self, name: str, value: float, unit: str, about: str, **of: str) -> None:
        self._instrument(Counter, name, unit, about).set(float(value), _attributes(of))

    def _instrument(self, kind: type[Gauge], name: str, unit: str, about: str) -> Gauge:
        if name not in self._gauges:
            self._gauges[name] = kind(name, unit=unit, about=about)
        return self._gauges[name]


def _attributes(of: dict[str, str]) -> Attributes:
    return tuple(of.items())
