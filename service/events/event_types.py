"""The events, their JSON and the registry that reads them back.

An event is a frozen record of something that happened. Its ``type`` and ``version`` name its decoder; a type that
this version does not know is kept as it is and passed on, so that an older service can serve a newer log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar


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
    ``eta_seconds`` is the tool's own; ``resource_eta_seconds`` and ``job_eta_seconds`` are the service's, over all that
    is still to come; None when nothing is known.
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
    resource_eta_seconds: float | None = None
    job_eta_seconds: float | None = None


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
    before their dependents; ``size``, where the card says it, in bytes. ``place``: where the job stands in the queue
    (see store/places.py). ``retry_of``: the job that this one makes good. ``idempotency_key`` and ``body_sha256``: what
    the client called this request, and what it asked for under that name.
    """

    type: ClassVar[str] = "job_queued"
    ssh_host: str
    ssh_port: int
    ssh_user: str
    ui_home: str
    resources: list[dict[str, Any]]
    host_key_sha256: str | None = None
    parallel: int = 1
    bandwidth_limit: int | None = None
    max_attempts: int = 3
    verify: bool = True
    place: str = ""
    retry_of: str | None = None
    idempotency_key: str | None = None
    body_sha256: str | None = None


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """The job was claimed; the instance is being connected to."""

    type: ClassVar[str] = "job_started"


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobMoved(Event):
    """The job has another place in its instance's queue. ``before``: what the client asked for."""

    type: ClassVar[str] = "job_moved"
    before: str
    place: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePositionChanged(Event):
    """How many jobs of its instance go before this one, and one more: 1 is next."""

    type: ClassVar[str] = "queue_position_changed"
    queue_position: int


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobPaused(Event):
    """It was decided that the job pauses: what runs for it is stopped, what waits is not begun."""

    type: ClassVar[str] = "job_paused"


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobResumed(Event):
    """It was decided that the job goes on from where it was paused."""

    type: ClassVar[str] = "job_resumed"


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(Event):
    """It was decided that the job ends: what runs for it on the instance is ended first."""

    type: ClassVar[str] = "cancel_requested"


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsChanged(Event):
    """Another bandwidth, in bytes a second for the whole job (None: no limit), from the next resource on."""

    type: ClassVar[str] = "limits_changed"
    bandwidth_limit: int | None


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
    """An attempt begins: committed before anything is launched. ``card_sha256``: of the card's text as run;
    ``bandwidth``: the bytes a second that this attempt may take, None for no limit."""

    type: ClassVar[str] = "resource_started"
    title: str
    card_sha256: str
    bandwidth: int | None = None


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
class VerificationStarted(Event):
    """The tool says that the resource is there; now its files are held against what is known of them."""

    type: ClassVar[str] = "verification_started"


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceVerified(Event):
    """One file was looked at. ``result``: verified, or unverified when there was nothing to hold it against.

    ``held_against``: what its hash or size came from (civitdl, card) or None. ``checked``: what was looked at (size,
    sha256, safetensors_header, not_html).
    """

    type: ClassVar[str] = "resource_verified"
    file: str
    bytes: int
    sha256: str | None
    held_against: str | None
    result: str
    checked: list[str] = field(default_factory=list)


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStalled(Event):
    """Nothing of the attempt read or wrote anything for so long; it was ended."""

    type: ClassVar[str] = "resource_stalled"
    stall_seconds: int


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRetryScheduled(Event):
    """Another attempt follows. ``delay_seconds``: counted from this event."""

    type: ClassVar[str] = "resource_retry_scheduled"
    next_attempt: int
    max_attempts: int
    delay_seconds: float
    cause: str


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceCancelled(Event):
    """The resource was not installed because its job was cancelled. ``partial_files``: what its tool left
    behind on the instance."""

    type: ClassVar[str] = "resource_cancelled"
    exit_code: int | None = None
    seconds: float | None = None
    partial_files: list[str] = field(default_factory=list)


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


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled(Event):
    """Terminal: somebody ended the job. ``partial_files``: what the tools left behind on the instance."""

    type: ClassVar[str] = "job_cancelled"
    success: bool = False
    error: str
    cause: str
    hint: str
    installed: int
    total: int
    results: list[dict[str, Any]]
    partial_files: list[str] = field(default_factory=list)


TERMINAL_TYPES = frozenset({JobCompleted.type, JobFailed.type, JobCancelled.type})
