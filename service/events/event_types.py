"""The events, their JSON and the registry that reads them back.

An event is a frozen record of something that happened. Its ``type`` and ``version`` name its decoder; a type that
this version does not know is kept as it is and passed on, so that an older service can serve a newer log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar


class Cause(StrEnum):
    """Why a resource or a job failed."""

    AUTH_REQUIRED = "auth_required"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    DNS = "dns"
    TLS = "tls"
    DISK_FULL = "disk_full"
    PERMISSION = "permission"
    TOOL_MISSING = "tool_missing"
    TIMEOUT = "timeout"
    KILLED = "killed"
    INSTANCE_LOST = "instance_lost"
    SSH_AUTH = "ssh_auth"
    SSH_UNREACHABLE = "ssh_unreachable"
    HOST_KEY_CHANGED = "host_key_changed"
    DEPENDENCY_FAILED = "dependency_failed"
    NO_SUCCESS_MARK = "no_success_mark"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have: a type, a version, and fields that are plain JSON values."""

    type: ClassVar[str]
    version: ClassVar[int] = 1

    def data(self) -> dict[str, Any]:
        """The fields of this type alone, in their declared order: what the log stores."""
        return {name: getattr(self, name) for name in _field_names(type(self))}

    def to_dict(self) -> dict[str, Any]:
        """``type`` first, then the fields: the form that clients know."""
        return {"type": self.type, **self.data()}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent:
    """An event of a type or version that this service does not know: kept, passed on, never interpreted."""

    type: str
    version: int
    fields: Mapping[str, Any]

    def data(self) -> dict[str, Any]:
        return dict(self.fields)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, **self.fields}


EventClass = TypeVar("EventClass", bound=type[Event])
Decoder = Callable[[Mapping[str, Any]], Event]
_DECODERS: dict[tuple[str, int], Decoder] = {}
_FIELD_NAMES: dict[type, tuple[str, ...]] = {}


def _field_names(cls: type) -> tuple[str, ...]:
    names = _FIELD_NAMES.get(cls)
    if names is None:
        names = _FIELD_NAMES[cls] = tuple(f.name for f in dataclasses.fields(cls))
    return names


def register(cls: EventClass) -> EventClass:
    """Make the class the decoder of its own (type, version). Fields that it does not have are left out, so that a
    field added later does not break an older reader of the same version."""
    key = (cls.type, cls.version)
    if key in _DECODERS:
        raise ValueError(f"two decoders for {key}")

    def decode_fields(data: Mapping[str, Any]) -> Event:
        names = _field_names(cls)
        return cls(**{name: value for name, value in data.items() if name in names})

    _DECODERS[key] = decode_fields
    return cls


def decode(event_type: str, version: int, data: Mapping[str, Any]) -> Event | UnknownEvent:
    """The event that was stored under this type and version, or an UnknownEvent that keeps it."""
    decoder = _DECODERS.get((event_type, version))
    if decoder is None:
        return UnknownEvent(type=event_type, version=version, fields=dict(data))
    return decoder(data)


def registered() -> tuple[tuple[str, int], ...]:
    """Every (type, version) that has a decoder."""
    return tuple(_DECODERS)


# --- what the instance's output says: yielded by the parser -----------------------------------------------------


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class StageStart(Event):
    """A download began, also when a tool tries again by itself. ``name``: the model's or the file's base name."""

    type: ClassVar[str] = "stage_start"
    name: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """One bar, as the tool printed it. What the tool did not print is None, never invented.

    ``stage``: images, model, cache (civitdl) or download. ``percent``: 0 to 100. ``downloaded, total, elapsed,
    remaining, speed``: the tool's own words. The numbers beside them are bytes, bytes a second and seconds.
    """

    type: ClassVar[str] = "progress"
    stage: str
    percent: int | None = None
    downloaded: str | None = None
    total: str | None = None
    elapsed: str | None = None
    remaining: str | None = None
    speed: str | None = None
    downloaded_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class StageComplete(Event):
    """The tool itself said that this download succeeded (curl: exit status 0)."""

    type: ClassVar[str] = "stage_complete"
    name: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Event):
    """A line that is no progress: colours and control characters taken out, secrets redacted, ``cut`` when it was
    longer than a line may be."""

    type: ClassVar[str] = "output"
    line: str
    cut: bool = False


# --- the lifecycle: recorded by the service ----------------------------------------------------------------------


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobQueued(Event):
    """A job was accepted: all that is needed to run it and to rebuild its row.

    ``resources``: one ``{"resource": path, "title": str, "dependencies": [path, ...]}`` for each, dependencies
    before their dependents.
    """

    type: ClassVar[str] = "job_queued"
    ssh_host: str
    ssh_port: int
    ssh_user: str
    ui_home: str
    resources: list[dict[str, Any]]
    host_key_sha256: str | None = None


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """The job was claimed; the instance is being connected to."""

    type: ClassVar[str] = "job_started"


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class HostKeyAccepted(Event):
    """The instance's host key was seen for the first time and is remembered (policy accept-new)."""

    type: ClassVar[str] = "host_key_accepted"
    host_key_sha256: str
    algorithm: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStarted(Event):
    """An attempt begins: committed before anything is launched. ``card_sha256``: of the card's text as run."""

    type: ClassVar[str] = "resource_started"
    title: str
    card_sha256: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLost(Event):
    """The connection to the instance broke. The install goes on there."""

    type: ClassVar[str] = "link_lost"
    reason: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobReattached(Event):
    """The connection is back, after a link loss or a restart of the service."""

    type: ClassVar[str] = "job_reattached"
    after_restart: bool = False


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceInstalled(Event):
    """The tool's output and its exit status both say that the resource is there."""

    type: ClassVar[str] = "resource_installed"
    exit_code: int | None
    seconds: float


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFailed(Event):
    """The attempt failed. ``error`` says what, ``hint`` what to do, ``tail`` holds the last lines of output."""

    type: ClassVar[str] = "resource_failed"
    cause: str
    error: str
    hint: str
    exit_code: int | None
    seconds: float | None
    tail: list[str]


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleted(Event):
    """Terminal: every resource is installed."""

    type: ClassVar[str] = "job_completed"
    success: bool = True
    installed: int
    total: int
    results: list[dict[str, Any]]


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(Event):
    """Terminal: at least one resource is not installed. ``cause`` is that of the first failed resource."""

    type: ClassVar[str] = "job_failed"
    success: bool = False
    error: str
    cause: str
    hint: str
    installed: int
    total: int
    results: list[dict[str, Any]]


TERMINAL_TYPES = frozenset({JobCompleted.type, JobFailed.type})
