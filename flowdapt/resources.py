"""What a user applies: workflows and configs, one model each for file, store and wire."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID, uuid4

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictFloat,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from flowdapt.errors import InvalidResource
from flowdapt.graph import Graph, GraphError

PARTIAL = "allow_partial_failure"  #: the option of parameterized stages; clients send texts too
SERVER_ANNOTATIONS = "flowdapt.ai/"  #: annotations with this prefix belong to the server


def now() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


def _as_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # the first hours of year 1, or the last ones of 9999, elsewhere
        raise ValueError("is out of the range of times") from None


def timestamp(value: datetime) -> str:
    """Return the wire form of a time: UTC without offset, always with microseconds."""
    return value.replace(tzinfo=None).isoformat(timespec="microseconds")


#: the schema of what :func:`timestamp` returns
WIRE_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$"}
Timestamp = Annotated[
    datetime,
    AfterValidator(_as_utc),
    PlainSerializer(timestamp, when_used="json"),
    WithJsonSchema(WIRE_TIME, mode="serialization"),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=253)]


class Model(BaseModel):
    """Frozen data that is checked where it enters."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def parse(cls, data: object, *, where: str, strict: bool = False) -> Self:
        """Check ``data`` from outside.

        :param where: named in the error, such as a file or ``request body``
        :param strict: refuse fields that the model does not have, instead of dropping them
        :raises InvalidResource: with the path of each field at fault
        """
        try:
            return cls.model_validate(data, extra="forbid" if strict else None)
        except ValidationError as error:
            raise InvalidResource(where, _faults(error)) from None


def _faults(error: ValidationError) -> list[dict[str, Any]]:
    """Return the faults, without complaints that a list is short by elements that are at fault."""
    found = error.errors()
    above = {e["loc"][:depth] for e in found for depth in range(len(e["loc"]))}
    return [_fault(e) for e in found if e["type"] != "too_short" or e["loc"] not in above]


def _fault(error: Any) -> dict[str, Any]:
    """Return what a person needs of one of pydantic's errors."""
    message = "unknown field" if error["type"] == "extra_forbidden" else error["msg"]
    message = message.removeprefix("Value error, ")
    return {"loc": error["loc"], "msg": message, "type": error["type"]}


class Metadata(Model):
    """What every resource has beside its specification."""

    name: Name = Field(description="Unique among the resources of its kind.")
    uid: UUID = Field(default_factory=uuid4, description="Given by the server.")
    created_at: Timestamp = Field(default_factory=now, description="Given by the server.")
    updated_at: Timestamp = Field(default_factory=now, description="Given by the server.")
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description="Free notes; keys that begin with `flowdapt.ai/` belong to the server.",
    )
    generation: int = Field(1, description="Counts the changes of the resource, from 1.")


class Resource(Model):
    """Something that is applied, stored and found by name.

    A plugin adds a kind by a subclass: ``kind`` as it stands in files, ``collection`` as it stands
    in the paths of the HTTP interface, ``aliases`` as further words for the command line. Where
    clients of earlier releases could not read all that it may be, a method ``as_v1alpha1`` returns
    what they are shown, and ``changed_in_v1alpha1`` what becomes of it by what they send.
    """

    collection: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()

    kind: str
    metadata: Metadata
    spec: Any

    @property
    def name(self) -> str:
        """The resource's name, short for ``metadata.name``."""
        return self.metadata.name

    @property
    def server_annotations(self) -> dict[str, str]:
        """The annotations that belong to the server."""
        notes = self.metadata.annotations.items()
        return {key: value for key, value in notes if key.startswith(SERVER_ANNOTATIONS)}

    def noting(self, **facts: Any) -> Self:
        """Return the resource with these facts in its metadata; they are not checked."""
        return self.model_copy(update={"metadata": self.metadata.model_copy(update=facts)})


_PATH = r"^[^\W\d]\w*(\.[^\W\d]\w*)+$"  # of an import
_MOST = 2**31 - 1  # of a priority; executors count no further


class Stage(Model):
    """One step of a workflow: a function and where it stands in the graph."""

    name: str = Field(min_length=1, max_length=253, description="Unique within the workflow.")
    target: Annotated[Any, WithJsonSchema({"type": "string", "pattern": _PATH})] = Field(
        description="The function, as an import path: `package.module.function`."
    )
    type: str = Field("simple", description="`simple`: called once. `parameterized`: per element.")
    description: str = Field("", description="For people; the function's docstring by default.")
    version: str = Field("", description="For people.")
    depends_on: tuple[str, ...] = Field(
        (), description="Stages whose results are the arguments, in order."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="What the type takes, such as `map_on`."
    )
    resources: dict[str, StrictFloat | str] = Field(
        default_factory=dict, description="`cpus`, `gpus`, `memory`, and named labels."
    )
    priority: int | None = Field(
        None, strict=True, ge=-_MOST, le=_MOST, description="Higher goes first where it is known."
    )

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: object) -> object:
        if callable(target):  # a workflow that a script gives as a dict
            return target
        if not isinstance(target, str):
            raise ValueError("must be an import path such as 'package.module.function'")
        if not re.fullmatch(_PATH, target):
            raise ValueError(
                f"{target!r} is no import path; write it like 'package.module.function'"
            )
        return target

    @field_validator("resources")
    @classmethod
    def _check_resources(cls, resources: dict[str, float | str]) -> dict[str, float | str]:
        amounts(resources)
        return resources

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(key := options.get("map_on"), str | None):
            raise ValueError(f"'map_on' is {key!r}, and must be a key of the run's input")
        if not re.fullmatch(r"[1-9]\d*|0*|None", str(size := options.get("chunk_size"))):
            raise ValueError(f"'chunk_size' is {size!r}, and must be a whole number")
        if (partial := str(options.get(PARTIAL, True)).lower()) not in ("true", "false"):
            raise ValueError(f"{PARTIAL!r} is {partial!r}, and must be true or false")
        return options

    @property
    def map_on(self) -> str | None:
        """The key of the run's input to map over; an empty text means not set."""
        return self.options.get("map_on") or None

    @property
    def chunk_size(self) -> int | None:
        """How many elements go into one message, where that is fixed."""
        return int(self.options.get("chunk_size") or 0) or None

    @property
    def allow_partial_failure(self) -> bool:
        """Whether elements that raise are left out instead of failing the run."""
        return str(self.options.get(PARTIAL, True)).lower() == "true"


class WorkflowSpec(Model):
    """The stages of a workflow."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    options: dict[str, Any] = Field(
        default_factory=dict, description="What holds for its runs as a whole, such as `timeout`."
    )

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        (name, count), *_ = Counter(stage.name for stage in self.stages).most_common(1)
        if count > 1:
            raise ValueError(f"{count} stages are named {name!r}; names are unique")
        try:
            self.graph()
        except GraphError as error:
            raise ValueError(str(error)) from None
        return self

    def graph(self) -> Graph:
        """Return the stages as a graph of names."""
        return Graph({stage.name: stage.depends_on for stage in self.stages})


class Workflow(Resource):
    """Functions, named as stages of a graph."""

    collection: ClassVar[str] = "workflows"
    aliases: ClassVar[tuple[str, ...]] = ("workflows", "wf")

    kind: Literal["workflow"] = "workflow"
    spec: WorkflowSpec

    def changed_in_v1alpha1(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return what a published client puts in place of this, which knows no ``options``."""
        if not isinstance(spec := data.get("spec"), dict):
            return data
        return {**data, "spec": {"options": self.spec.options, **spec}}


class Selector(Model):
    """Which resources a config applies to."""

    kind: str | None = Field(None, description="A kind of resource; absent, every kind.")
    type: Literal["name", "annotation"] = "name"
    value: str | dict[str, str] | None = Field(
        None, description="A name, or the annotations to have; absent, nothing is selected."
    )

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        wanted = str if self.type == "name" else dict
        if self.value is not None and not isinstance(self.value, wanted):
            shape = "a text" if wanted is str else "an object of texts"
            raise ValueError(f"value must be {shape} for a selector of type {self.type!r}")
        return self

    def selects(self, resource: Resource) -> bool:
        """Tell whether ``resource`` is meant: by its name, or by all of the annotations."""
        if self.value is None or self.kind not in (None, resource.kind):
            return False
        if isinstance(self.value, str):
            return self.value == resource.name
        has = resource.metadata.annotations.items()
        return bool(self.value) and self.value.items() <= has


class ConfigSpec(Model):
    """Data, and whom it is for."""

    selector: Selector = Selector()
    data: dict[str, Any]

    @field_validator("selector", mode="before", json_schema_input_type=Selector | None)
    @classmethod
    def _absent_selects_nothing(cls, selector: object) -> object:
        # A null selector fails published clients, which want an object with `type` and `value`.
        return Selector() if selector is None else selector


class Config(Resource):
    """Data that runs of the selected workflows find as ``context.config``."""

    collection: ClassVar[str] = "configs"
    aliases: ClassVar[tuple[str, ...]] = ("configs",)

    kind: Literal["config"] = "config"
    spec: ConfigSpec


KINDS: Mapping[str, type[Resource]] = {"workflow": Workflow, "config": Config}


def merged_data(configs: list[Config], workflow: Workflow) -> dict[str, Any]:
    """Return the data that ``workflow`` finds as its config.

    Configs that select by name come first, then those by annotation, each in the order given; later
    ones win, on top-level keys.
    """
    chosen = [c for c in configs if c.spec.selector.selects(workflow)]
    chosen.sort(key=lambda config: config.spec.selector.type == "annotation")
    return {key: value for config in chosen for key, value in config.spec.data.items()}


_UNITS = {"": 1, "B": 1, "KB": 1000}
_UNITS |= {f"{prefix}B": 1000**i for i, prefix in enumerate("kMGTP", 1)}
_UNITS |= {f"{prefix}iB": 1024**i for i, prefix in enumerate("KMGTP", 1)}


def amounts(resources: Mapping[str, float | str]) -> dict[str, float]:
    """Return resources as numbers: ``memory`` in bytes, everything else as counted.

    :param resources: numbers, or texts such as ``"2"`` or, for memory, ``"8GB"`` and ``"512MiB"``
    :raises ValueError: a value is neither, or is negative
    """
    return {key: _amount(key, value) for key, value in resources.items() if value != ""}


def _amount(key: str, value: float | str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
    number = float(match[1]) if match else -1.0
    unit = match[2] if match else ""
    if isinstance(value, int | float):  # whose text may be such as 1e+16
        number, unit = value, ""
    if not 0 <= number < math.inf or unit not in (_UNITS if key == "memory" else ("",)):
        right = "a number of bytes or a text such as '8GB' or '512MiB'"
        right = right if key == "memory" else "a number that is not negative"
        raise ValueError(f"resource {key!r} is {value!r}, and must be {right}")
    return number * float(_UNITS[unit])
