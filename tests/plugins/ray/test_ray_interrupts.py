"""How a stage is woken that waits, in a process that is told to stop as Ray tells it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# As in a process of Ray: another thread has the main thread interrupted, and sends no signal.
PROGRAM = """
import _thread, asyncio, subprocess, threading, time
from flowdapt_ray.interrupts import Interrupts
from flowdapt_workers.failures import Interrupted

interrupts = Interrupts()
_thread.interrupt_main()  # between two orders
time.sleep(0.01)
begun = time.monotonic()
threading.Timer(0.2, _thread.interrupt_main).start()
try:
    {work}
except (Interrupted, asyncio.CancelledError) as error:
    print(type(error).__name__, time.monotonic() - begun < 30)
_thread.interrupt_main()
time.sleep(0.01)
"""
AWAITED = """
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(60))
    with interrupts.cancelling(loop, task.cancel): loop.run_until_complete(task)
"""


@pytest.mark.parametrize(
    ("work", "raised"),
    [
        ("with interrupts.raised(): time.sleep(60)", "Interrupted"),
        ("with interrupts.raised(): threading.Event().wait(60)", "Interrupted"),
        ("with interrupts.raised(): subprocess.run(['sleep', '60'])", "Interrupted"),
        ("with interrupts.raised(): asyncio.run(asyncio.sleep(60))", "Interrupted"),
        (AWAITED.strip(), "CancelledError"),
    ],
    ids=["sleep", "lock", "program", "loop", "awaited"],
)
def test_what_waits_in_the_system_is_woken_at_once(work: str, raised: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(work=work)]

    told = subprocess.run(program, capture_output=True, text=True, check=True, timeout=50)

    assert told.stdout.split() == [raised, "True"]
