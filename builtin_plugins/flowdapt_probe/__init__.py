"""Tries to import plugins of strangers in a child process, because some imports never come back.

A loop in C, ``os._exit``, a crash or a flood of memory cannot be caught in the process where it
happens. ``verdicts`` knows who was tried before, ``trials`` starts a child process and looks how
it ends, and ``child`` is what runs there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowdapt.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowdapt.hooks import Verdict
    from flowdapt.plugins import Plugin


@hookimpl
def flowdapt_judge(plugins: Sequence[Plugin], folder: Path | None) -> Mapping[str, Verdict]:
    from flowdapt_probe.verdicts import judge

    return judge(plugins, folder)
