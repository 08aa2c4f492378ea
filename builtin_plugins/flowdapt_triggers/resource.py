"""What a user applies: a rule, an action, and how the two go together."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from flowdapt.resources import Model, Resource
from flowdapt.settings import Duration

Concurrency = Literal["allow", "forbid", "queue", "replace"]
Misfire = Literal["skip", "once", "all"]


class Action(Model):
    """What is done when a trigger fires."""

    target: Annotated[str, Field(min_length=1)] = Field(
        description="`run_workflow`, `print_event`, `webhook`, or an import path of a function."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="What the action takes; texts may name facts, as in `{{ event.data.city }}`.",
    )


#: fields of a spec that published clients do not know
SINCE_V1 = {"options", "concurrency", "misfire", "misfire_window", "debounce", "paused"}


class TriggerSpec(Model):
    """When it fires, and what is done then."""

    type: str = Field("condition", description="Of the rule, such as `condition` or `schedule`.")
    rule: Any = Field(description="What the type of the rule says.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Further ones of the rule, such as `timezone`."
    )
    action: Action
    concurrency: Concurrency = Field(
        "allow",
        description="What happens while the run of an earlier firing is in progress: another one "
        "starts, none does, one starts after it, or it is cancelled first.",
    )
    misfire: Misfire = Field(
        "skip",
        description="Of times that passed while no server was there: none is made up, the newest "
        "is, or all are.",
    )
    misfire_window: Duration | None = Field(
        None, ge=0, description="Times that are longer ago than this are not made up."
    )
    debounce: Duration | None = Field(
        None, ge=0, description="It fires once it was quiet for so long, for the last of several."
    )
    paused: bool = Field(False, description="It does not fire; what is missed is not made up.")

    @model_validator(mode="before")
    @classmethod
    def _needs_a_rule(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "rule" not in data:
            return data
        if data["rule"] in ({}, [], "", None):
            raise ValueError("'rule' is empty; without one it would never fire")
        match data["rule"]:  # what published clients were shown, and send back
            case {"of_type": {**inner}} if len(inner) == len(data["rule"]) == 1:
                ((name, rule),) = inner.items()
                return {**data, "type": name, "rule": rule}
        return data


def _type(spec: dict[str, Any]) -> Any:
    match spec:
        case {"rule": {"of_type": {**inner}}} if len(inner) == len(spec["rule"]) == 1:
            return next(iter(inner))
    return spec.get("type", "condition")


class TriggerRule(Resource):
    """A rule that decides when, and the action that is done then."""

    collection: ClassVar[str] = "triggers"
    aliases: ClassVar[tuple[str, ...]] = ("triggers", "trigger", "trigger_rules")

    kind: Literal["trigger_rule"] = "trigger_rule"
    spec: TriggerSpec

    def changed_in_v1alpha1(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return what a published client puts in place of this, with what it knows nothing of.

        What its body leaves out stays as it is; what belongs to a rule, only with the same type.
        """
        spec = data.get("spec")
        if not isinstance(spec, dict):
            return data
        of_rule = {"options", "debounce"} if _type(spec) != self.spec.type else set()
        stored = self.spec.model_dump(mode="json", include=SINCE_V1 - of_rule)
        return {**data, "spec": {**stored, **spec}}

    def as_v1alpha1(self) -> TriggerRule:
        """Return the trigger as published clients can read it.

        They fail on types but ``condition`` and ``schedule``, and on rules that are text. A rule of
        another type is shown as a condition ``{of_type: {TYPE: RULE}}``, and taken back as that.
        """
        kind, rule = self.spec.type, self.spec.rule
        if kind == "schedule":
            change = {"rule": [rule] if isinstance(rule, str) else rule}
        elif kind != "condition":
            change = {"type": "condition", "rule": {"of_type": {kind: rule}}}
        else:
            return self
        return self.model_copy(update={"spec": self.spec.model_copy(update=change)})
