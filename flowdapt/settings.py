"""Everything that can be set, read once where a program starts and only handed down from there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_serializer,
    model_validator,
)

MIB = 2**20
FOREVER = -1.0  #: how long runs are kept; 0 stores none at all

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Text(str):
    """What a variable or an override holds: perhaps a number, a boolean or nothing."""

    __slots__ = ()


def plain(value: Any) -> Any:
    """Return a value with every :class:`Text` in it read as what it looks like."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if not isinstance(value, Text):
        return value
    # A number only if it is written as JSON writes one: 007 is a text, and 0x10 too.
    if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|null", value.lower()):
        return json.loads(value.lower())
    return None if value.lower() == "none" else str(value)


# What can be set -----------------------------------------------------------------------------


def _duration(value: Any) -> Any:
    """Read `2h` or `1h30m` as seconds."""
    if not isinstance(value, str) or re.fullmatch(r"-?[\d.]+", value):
        return value
    if not re.fullmatch(r"(\d+(\.\d+)?[smhdw])+", value):
        raise ValueError("should be a number of seconds, or a text such as 30m, 2h or 7d")
    parts = re.findall(r"([\d.]+)([smhdw])", value)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _beside(name: str, default: Any) -> BeforeValidator:
    """Read the keys beside one as options, and a lone value as that one."""

    def parse(value: Any) -> Any:
        value = {name: value} if isinstance(value, str) else value
        if not isinstance(value, dict):
            return value
        options = plain(value)
        return {name: options.pop(name, default), "options": options}

    return BeforeValidator(parse)


def _listed(value: Any) -> Any:
    """Read names with commas between them, or a JSON list: a variable holds a list as text."""
    return re.findall(r"""[^\s,"'\[\]]+""", value) if isinstance(value, str) else value


class Section(BaseModel):
    """A group of keys; a key that is set to nothing has its default."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_default(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if plain(value) is not None}
        return {} if plain(data) is None else data


class _WithOptions(BaseModel):
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    options: dict[str, Any] = {}

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {**{k: v for k, v in vars(self).items() if k != "options"}, **self.options}


class Component(_WithOptions):
    """A part that a plugin offers, by name, and the options it is made with."""

    target: str


class ServiceSettings(_WithOptions):
    """Whether a service is started, and the options it is made with."""

    enabled: bool = True


Duration = Annotated[float, Field(ge=FOREVER), BeforeValidator(_duration)]
_Free = Annotated[dict[str, Any], BeforeValidator(plain)]
_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
_Executor = Annotated[Component, _beside("target", "local")]
_Database = Annotated[Component, _beside("target", "sqlite")]
_Memory = Annotated[Component, _beside("target", "auto")]
_LOWER = BeforeValidator(lambda level: str(level).lower())
_Level = Literal["debug", "info", "warning", "error", "critical"]


class Api(Section):
    """Where the HTTP interface listens, and how much it takes."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="The port; 0 takes any free one.")
    max_body: int = Field(64 * MIB, ge=1, description="Bytes that the body of a request may have.")
    max_connections: int = Field(4096, ge=1, description="Connections at once; more are refused.")
    allow_origins: _Names = Field((), description="Origins of web pages elsewhere that may call.")
    require_token: bool = Field(False, description="Ask for a token on this machine, too.")
    insecure: bool = Field(False, description="Ask for none, whoever can reach the server.")


class EventBus(Section):
    """How events reach other servers."""

    url: str = Field("memory://", description="Where events are passed on.")


class Rpc(Section):
    """How the server is reached."""

    api: Api = Api()
    event_bus: EventBus = EventBus()


class ArtifactStorage(Section):
    """Where artifacts are kept."""

    protocol: str = Field("file", description="Where artifacts are kept: a protocol of fsspec.")
    base_path: str | None = Field(None, description="A folder; for `file`, by default `app_dir`.")
    parameters: _Free = Field({}, description="Handed to the file system.")


class Logging(Section):
    """What is logged, and how it looks."""

    level: Annotated[_Level, _LOWER] = Field("info", description="The least level that is logged.")
    format: Literal["console", "json"] = Field("console", description="For people, or programs.")
    include_trace_id: bool = Field(False, description="Add the trace a line belongs to.")
    show_tracebacks: bool = Field(False, description="Log tracebacks, not only what was raised.")
    traceback_show_locals: bool = Field(False, description="Show local variables in tracebacks.")
    traceback_max_frames: int = Field(10, ge=1, description="Frames shown, the innermost ones.")
    run_limit: int = Field(16 * MIB, ge=0, description="Bytes of log that are kept for each run.")


class KeptEvents(Section):
    """How long it is known what happened; -1 means for ever."""

    retention: Duration = Field(7 * 86400.0, description="How long events of runs are kept.")
    revisions: Duration = Field(FOREVER, description="How long changes of resources are kept.")
    audit: Duration = Field(365 * 86400.0, description="How long it is kept who did what.")


class Compute(Section):
    """How runs are computed, and how long they are kept."""

    enabled: bool = True
    executor: _Executor = Field(Component(target="local"), description="Computes the stages.")
    default_namespace: str = Field("default", description="The namespace of objects and runs.")
    default_os_strategy: str = Field("fallback", description="How `put` and `get` keep objects.")
    run_retention_duration: Duration = Field(FOREVER, description="How long runs are kept.")


class Services(Section):
    """The services, each under its name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[ServiceSettings, _beside("enabled", True)]]

    compute: Compute = Compute()


class Telemetry(Section):
    """What is exported to a collector of traces and metrics, and how."""

    enabled: bool = Field(False, description="Export traces and metrics to an OTLP collector.")
    endpoint: str = Field("http://localhost:4318", description="With `grpc`, port 4317 if not set.")
    protocol: Literal["http", "grpc"] = Field("http", description="`http` carries protobuf.")
    compression: Literal["none", "gzip", "deflate"] = Field("none", description="Of requests.")
    timeout: float = Field(10, gt=0, description="Seconds until an export is given up.")
    headers: dict[str, str] | None = Field(None, description="Sent with every request.")
    trace_export_timeout_ms: int = Field(30000, gt=0, description="Or `timeout`, if less.")
    trace_export_batch_size: int = Field(512, gt=0, description="Spans in a request, at most.")
    trace_schedule_delay_ms: int = Field(5000, gt=0, description="Until a part of a batch is sent.")
    trace_max_queue_size: int = Field(2048, gt=0, description="Runs, and spans, that may wait.")
    metrics_max_storage_time_s: int = Field(21600, gt=0, description="What `/metrics` looks back.")
    metrics_interval_ms: int = Field(5000, gt=0, description="Between samples, and exports.")
    metrics_export_timeout_ms: int = Field(10000, gt=0, description="Or `timeout`, if less.")


class Plugins(Section):
    """Which plugins are loaded."""

    disabled: _Names = Field((), description="Plugins that are not loaded, by name.")
    safe_mode: bool = Field(False, description="Load only the plugins that come with flowdapt.")


class Settings(Section):
    """All settings of one process."""

    name: str = Field("flowdapt", description="The server's name in its status and telemetry.")
    rpc: Rpc = Rpc()
    database: _Database = Field(Component(target="sqlite"), description="Keeps what is applied.")
    storage: ArtifactStorage = ArtifactStorage()
    memory: _Memory = Field(
        Component(target="auto"), description="What objects are shared through."
    )
    logging: Logging = Logging()
    events: KeptEvents = KeptEvents()
    services: Services = Services()
    telemetry: Telemetry = Telemetry()
    plugins: Plugins = Plugins()
    drain_on_sigterm: bool = Field(False, description="Wait for runs before stopping.")
    drain_timeout_seconds: float = Field(300, ge=0, description="The limit of that wait.")

    app_dir: Path = Field(exclude=True, description="Where this process keeps its files.")
    config_file: Path | None = Field(None, exclude=True, description="The file that was read.")
    dev: bool = Field(False, exclude=True, description="Whether errors are shown in full.")
    unknown: tuple[str, ...] = Field((), exclude=True, description="Keys that mean nothing.")

    def service_enabled(self, name: str) -> bool:
        """Return whether the service may start; those that nobody mentions may."""
        return bool(getattr(getattr(self.services, name, None), "enabled", True))

    def service_options(self, name: str) -> dict[str, Any]:
        """Return what is set for the service, beside whether it is enabled."""
        found = (self.services.model_extra or {}).get(name)
        return dict(found.options) if found else {}
