{%- set parts = {
  "executor": ("executors", "executor:ThreadExecutor", "Threads of the server."),
  "storage": ("storages", "storage:JournalStorage", "A journal of all changes."),
  "trigger": ("triggers", "workdays:Workdays", "From Monday to Friday."),
  "service": ("services", "run_log:RunLog", "Writes down how runs end."),
} -%}
"""What flowdapt finds of this plugin.

{% if cookiecutter.kind == "stages" -%}
This module is imported by every flowdapt command, so nothing heavy is imported here. Resources lie
in the folder ``resources``; the functions that they name are in ``stages``.
{%- else -%}
This module is imported by every flowdapt command, so nothing heavy is imported here: a part is
offered as a name and an address, and imported when it is first used. Resources lie in the folder
``resources``; the functions that they name are in ``stages``.
{%- endif %}
"""

from __future__ import annotations
{% if cookiecutter.kind == "stages" %}
import logging
from typing import TYPE_CHECKING

from flowdapt.hooks import hookimpl

if TYPE_CHECKING:
    from flowdapt.events import Event

logger = logging.getLogger(__name__)

RUN_FINISHED = "com.event.workflow.workflow_finished"


@hookimpl
def flowdapt_event(event: Event) -> None:
    """Note in the server's log when a run of this plugin's workflow has ended."""
    if event.type == RUN_FINISHED and event.workflow == __name__:
        logger.info("run %s has ended", event.run)
{% else %}{% set hook, target, help = parts[cookiecutter.kind] %}
from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_{{ hook }}() -> list[Provider]:
    return [Provider(__name__, f"{__name__}.{{ target }}", "{{ help }}")]
{% endif -%}
