"""Makes rules and actions of what triggers say, and refuses what cannot be understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdapt.errors import FlowdaptError, InvalidResource, ProviderNotFound, nearest
from flowdapt.triggers import EventRule, WatchingRule
from flowdapt_triggers import templates
from flowdapt_triggers.functions import CallFunction

if TYPE_CHECKING:
    from flowdapt.server import Server
    from flowdapt.triggers import Rule
    from flowdapt_triggers.resource import TriggerSpec


class Makers:
    """Knows the types of rules and the actions that plugins offer."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def made(self, spec: TriggerSpec) -> tuple[Rule, Any]:
        """Return the rule and the action of a trigger.

        :raises InvalidResource: one cannot be understood; paths are within the spec
        """
        return self.rule(spec), self._action(spec)

    def check(self, spec: TriggerSpec, where: str) -> None:
        """Refuse what :meth:`made` cannot make, with all that is at fault.

        :raises InvalidResource: with paths within the resource
        """
        faults: list[dict[str, Any]] = []
        rule: Rule | None = None
        try:
            rule = self.rule(spec)
        except InvalidResource as error:
            faults += error.errors
        if spec.debounce and rule is not None and not isinstance(rule, EventRule | WatchingRule):
            fact = f"is for what happens, and a rule of the type {spec.type!r} waits for nothing"
            faults.append({"loc": ("debounce",), "msg": fact, "type": "value_error"})
        try:
            self._action(spec)
        except InvalidResource as error:
            faults += error.errors
        if faults:
            raise InvalidResource(where, [f | {"loc": ("spec", *f["loc"])} for f in faults])

    def watches(self, spec: TriggerSpec) -> bool:
        """Tell whether the rule of a trigger looks for something itself, without making it."""
        try:
            found = self._resolved("triggers", spec.type, ("type",))
        except FlowdaptError:
            return False
        return isinstance(found, type) and issubclass(found, WatchingRule)

    def rule(self, spec: TriggerSpec) -> Rule:
        """Return the rule of a trigger.

        :raises InvalidResource: it cannot be understood
        """
        made: Rule = self._resolved("triggers", spec.type, ("type",))(spec.rule, spec.options)
        return made

    def _action(self, spec: TriggerSpec) -> Any:
        target, parameters = spec.action.target, spec.action.parameters
        wrong = [
            {"loc": ("action", "parameters", *place), "msg": fact, "type": "value_error"}
            for place, fact in templates.faults(parameters)
        ]
        if wrong:
            raise InvalidResource("action", wrong)
        if "." in target and target not in self._server.plugins.providers("actions"):
            return CallFunction(self._server, parameters, target=target)
        return self._resolved("actions", target, ("action", "target"))(self._server, parameters)

    def _resolved(self, part: str, name: str, place: tuple[str, ...]) -> Any:
        """Import what a plugin offers under a name.

        :raises InvalidResource: none does
        """
        try:
            return self._server.plugins.resolve(part, name)
        except ProviderNotFound as error:
            known = nearest(name, error.known) or f"; there are {', '.join(map(repr, error.known))}"
            what = "type of rules" if part == "triggers" else "action"
            fact = f"{name!r} is no {what}{known}"
            raise InvalidResource.at("trigger", place, fact) from None
