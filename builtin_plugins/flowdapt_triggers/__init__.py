"""Triggers: something is done at certain times, or because something happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from flowdapt.hooks import NAMESPACE, Provider, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

_spec = pluggy.HookspecMarker(NAMESPACE)(firstresult=False)


@_spec
@hookimpl
def flowdapt_actions() -> Iterable[Provider]:
    """Offer actions, which triggers do when they fire.

    Called when a trigger is checked. Each ``target`` is a class that is made with the
    :class:`flowdapt.server.Server` and the trigger's parameters, and raises a
    :class:`flowdapt.errors.InvalidResource` with paths such as ``("action", "parameters", "url")``
    where it cannot use them. What it makes is called with a
    :class:`flowdapt_triggers.actions.Firing`, and awaited; what it raises is recorded as the reason
    why the firing failed. Its attribute ``starts_run`` tells whether it starts a run and returns
    it: then the run has the firing's ``uid`` and is ``told`` with its events. Every other action is
    recorded before it is done, so that it is never done twice.

    Implement it with ``hookimpl(optionalhook=True)``, to be of use where this plugin is disabled.

    :return: one provider for each action; names are unique across plugins
    """
    return [  # the specification is its own first implementation
        Provider("run_workflow", f"{__name__}.actions:RunWorkflow", "Starts a run."),
        Provider("print_event", f"{__name__}.actions:PrintEvent", "Prints the event."),
        Provider("webhook", f"{__name__}.posts:Post", "Posts to an address."),
    ]


@hookimpl
def flowdapt_kinds() -> list[Provider]:
    return [Provider("trigger_rule", f"{__name__}.resource:TriggerRule", "A rule and an action.")]


@hookimpl(optionalhook=True)  # there are no routes without the HTTP interface
def flowdapt_routes() -> list[Provider]:
    return [Provider("triggers", f"{__name__}.routes:routes")]


@hookimpl
def flowdapt_services() -> list[Provider]:
    return [Provider("triggers", f"{__name__}.service:TriggerService", "Fires triggers.")]


@hookimpl
def flowdapt_triggers() -> list[Provider]:
    return [
        Provider("condition", f"{__name__}.conditions:Condition", "Events that meet it."),
        Provider("schedule", f"{__name__}.schedules:Schedule", "Lines as cron has them."),
        Provider("interval", f"{__name__}.schedules:Interval", "Times at equal distances."),
        Provider("once", f"{__name__}.schedules:Once", "One time."),
        Provider("webhook", f"{__name__}.webhooks:Webhook", "Requests of others."),
        Provider("file", f"{__name__}.files:FileArrivals", "Files that arrive."),
    ]
