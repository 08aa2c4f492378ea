"""A Dask cluster for tests that starts and ends its workers by what there is to compute."""

from __future__ import annotations

import logging
import sys
from typing import Any

from distributed import LocalCluster


def main() -> None:
    """Run it until standard input ends; say first where its scheduler is."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    made: Any = LocalCluster  # it has no types
    with made(
        n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=3)
        print(cluster.scheduler_address, flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main()
