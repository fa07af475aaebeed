"""The events, their JSON and the registry that reads them back.

An event is a frozen record of something that happened. Its ``type`` and ``version`` name its decoder. An event of an
unknown type is kept and passed on unchanged, so that an older service can serve a newer log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, dataclass_transform


class Event:
    """The base of all events: a type, a version, and fields that are plain JSON values."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    type: ClassVar[str]
    version: ClassVar[int] = 1
    # The format of streams that this type and version came with: see formats.py.
    since: ClassVar[int] = 1

    def earlier(self) -> Event | None:
        """What is written in its place while a replica cannot read it yet; None: nothing, nobody decides by it."""
        return None

    def data(self) -> dict[str, Any]:
        """The fields of this type alone, in their declared order: the form that the log stores."""
        names, read = _READERS.get(type(self)) or _reader_of(type(self))
        return dict(zip(names, read(self), strict=False))

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


EventType = TypeVar("EventType", bound=Event)
_CLASSES: dict[tuple[str, int], type[Event]] = {}
_FIELD_NAMES: dict[type, tuple[str, ...]] = {}
_READERS: dict[type, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]] = {}


def _field_names(cls: type) -> tuple[str, ...]:
    names = _FIELD_NAMES.get(cls)
    if names is None:
        names = _FIELD_NAMES[cls] = tuple(f.name for f in dataclasses.fields(cls))
    return names


def _reader_of(cls: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The fields' names, and what reads them all at once: a loop over the fields of every event takes half as long
    again. An attrgetter of one name would answer no tuple: two more are read, and left out by zip."""
    names = _field_names(cls)
    return _READERS.setdefault(cls, (names, attrgetter(*names, "type", "version")))


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event_class(*, kw_only: bool = True) -> Callable[[type[EventType]], type[EventType]]:
    """Make a class of events: a frozen record, and the decoder of its own (type, version). It ignores fields that it
    does not have, so that a field added later does not break an older reader of the same version.

    The type checker refuses to change an event. Python is not asked to: its guard costs 0.1 us a field, at every bar.
    """

    def made(cls: type[EventType]) -> type[EventType]:
        record = dataclass(slots=True, kw_only=kw_only, unsafe_hash=True)(cls)
        key = (record.type, record.version)
        if key in _CLASSES:
            raise ValueError(f"two classes for {key}")
        _CLASSES[key] = record
        return record

    return made


def class_of(event_type: str, version: int) -> type[Event] | None:
    """The class of events of this type and version; None for those that this service does not know."""
    return _CLASSES.get((event_type, version))


def decode(event_type: str, version: int, data: Mapping[str, Any]) -> Event | UnknownEvent:
    """The event of this type and version with this data; an UnknownEvent if there is no class for it."""
    cls = _CLASSES.get((event_type, version))
    if cls is None:
        return UnknownEvent(type=event_type, version=version, fields=dict(data))
    names = _field_names(cls)
    return cls(**{name: value for name, value in data.items() if name in names})


def registered() -> tuple[tuple[str, int], ...]:
    """Every (type, version) that has a class."""
    return tuple(_CLASSES)


# --- output of the instance: the parser yields these ------------------------------------------------------------


@event_class()
class StageStart(Event):
    """A download began, also when a tool tries again by itself. ``name``: the model's or the file's base name."""

    type: ClassVar[str] = "stage_start"
    name: str


@event_class(kw_only=False)
class Progress(Event):
    """One bar, as the tool printed it. A value that the tool did not print is None, never invented.

    ``stage``: images, model, cache (civitdl) or download. ``percent``: 0 to 100. ``downloaded, total, elapsed,
    remaining, speed``: the tool's own words. The numbers beside them are bytes, bytes a second and seconds.
    ``eta_seconds`` is the tool's own estimate; ``resource_eta_seconds`` and ``job_eta_seconds`` are the service's, for
    the whole rest of the resource and of the job; None while there is no estimate. ``left_out``: the bars of this stage
    since the last event of it that were left out because the service was late.
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
    left_out: int = 0

    def with_estimates(
        self, resource_eta_seconds: float | None, job_eta_seconds: float | None, bytes_per_second: float | None
    ) -> Progress:
        """The same bar with the service's estimates, and its speed. Every bar is copied so: ``replace`` would cost five
        times."""
        return Progress(
            self.stage,
            self.percent,
            self.downloaded,
            self.total,
            self.elapsed,
            self.remaining,
            self.speed,
            self.downloaded_bytes,
            self.total_bytes,
            bytes_per_second,
            self.eta_seconds,
            resource_eta_seconds,
            job_eta_seconds,
            self.left_out,
        )


@event_class()
class StageComplete(Event):
    """The tool itself said that this download succeeded (curl: exit status 0)."""

    type: ClassVar[str] = "stage_complete"
    name: str


@event_class(kw_only=False)
class Output(Event):
    """A line that is not progress, without colours and control characters, its secrets redacted. ``cut``: the line was
    longer than a line may be, and its end is left out."""

    type: ClassVar[str] = "output"
    line: str
    cut: bool = False


# --- the runs of tools: the instance records them, the parser reads the records --------------------------------------


@event_class()
class RunStarted(Event):
    """A tool began. ``run``: 1, 2, 3 … in its attempt. ``destination``: the file that it writes, or its folder.
    ``address``: where it loads from, without secrets. ``judged``: the run writes a file, so its end counts for the
    verdict; a probe or a pipe is only recorded."""

    type: ClassVar[str] = "run_started"
    run: int
    tool: str
    destination: str | None = None
    address: str | None = None
    judged: bool = True


@event_class()
class RunEnded(Event):
    """A run of a tool ended. ``exit_code``: 128 + n for signal n. ``bytes``: what it wrote, where that is known;
    ``announced_bytes``: the length that its server announced. ``name``: of its file, or of its address while nobody
    knows the file's."""

    type: ClassVar[str] = "run_ended"
    run: int
    exit_code: int
    bytes: int | None = None
    announced_bytes: int | None = None
    destination: str | None = None
    name: str | None = None


@event_class()
class FileKept(Event):
    """A file was there and whole, so it was not loaded again."""

    type: ClassVar[str] = "file_kept"
    path: str
    bytes: int


@event_class()
class ResourceWarned(Event):
    """Something that a person should know and that is not a failure; without a resource it is about the whole job.

    ``code``: a word for programs; words may be added. ``paths``: files or folders on the instance that may help.
    """

    type: ClassVar[str] = "resource_warning"
    code: str
    text: str
    paths: list[str] = field(default_factory=list)


@event_class()
class FileRemoved(Event):
    """A file was removed from the instance because somebody asked for it. ``path``: below models/ of ui_home.
    ``size``: its bytes, null if it was not there any more."""

    type: ClassVar[str] = "file_removed"
    path: str
    size: int | None = None


# --- the lifecycle: the service appends these --------------------------------------------------------------------


@event_class()
class JobQueued(Event):
    """A job was accepted. The event holds all that is needed to run it and to rebuild its row.

    ``resources``: one ``{"resource": path, "title": str, "dependencies": [path, ...]}`` for each, dependencies
    before their dependents; ``size``, if the card gives it, in bytes. ``place``: in the queue (see store/places.py).
    ``reinstall``: files that are there and whole are loaded anew. ``removes``: the files below models/ that a job
    without resources removes. ``wait_for_ssh_seconds``: how long an instance that does not answer yet is waited for,
    None for as long as the service's setting says. ``retry_of``: the job that this one retries.
    ``idempotency_key``: the client's name for the request; ``body_sha256``: of the request's body, to refuse another
    body under the same name.
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
    reinstall: bool = False
    removes: list[str] = field(default_factory=list)
    wait_for_ssh_seconds: int | None = None
    place: str = ""
    retry_of: str | None = None
    idempotency_key: str | None = None
    body_sha256: str | None = None


@event_class()
class JobStarted(Event):
    """The worker claimed the job and connects to its instance."""

    type: ClassVar[str] = "job_started"


@event_class()
class JobMoved(Event):
    """The job has another place in its instance's queue. ``before``: what the client named: a job, first or last."""

    type: ClassVar[str] = "job_moved"
    before: str
    place: str


@event_class()
class QueuePositionChanged(Event):
    """The job's position in its instance's queue: 1 is next."""

    type: ClassVar[str] = "queue_position_changed"
    queue_position: int


@event_class()
class JobPaused(Event):
    """A client paused the job: the service stops its running attempts and starts no other."""

    type: ClassVar[str] = "job_paused"


@event_class()
class JobResumed(Event):
    """A client resumed the job: it continues where it was paused."""

    type: ClassVar[str] = "job_resumed"


@event_class()
class CancelRequested(Event):
    """A client cancelled the job: the service first ends its attempts on the instance, then the job."""

    type: ClassVar[str] = "cancel_requested"


@event_class()
class LimitsChanged(Event):
    """The job has another bandwidth limit, in bytes a second (None: no limit). It applies from the next resource."""

    type: ClassVar[str] = "limits_changed"
    bandwidth_limit: int | None


@event_class()
class Connecting(Event):
    """The service tries to connect again, because the last try failed. Said when the reason changes.

    ``reason``: refused, no_route, name_unknown, timeout, key_refused, no_shell (the login runs no program), no_answer
    (connected, but silent) or broken; reasons may be added. ``text``: the same for a person, with what the instance
    printed. ``seconds``: since the first of these tries began. ``next_seconds``: until the next.
    """

    type: ClassVar[str] = "connecting"
    reason: str
    text: str
    seconds: float
    next_seconds: float


@event_class()
class HostKeyAccepted(Event):
    """The service saw the instance's host key for the first time and remembers it (policy accept-new)."""

    type: ClassVar[str] = "host_key_accepted"
    host_key_sha256: str
    algorithm: str


@event_class()
class ResourceStarted(Event):
    """An attempt begins. The event is committed before anything is launched. ``card_sha256``: of the card's text as it
    runs; ``bandwidth``: the attempt's limit in bytes a second (None: no limit)."""

    type: ClassVar[str] = "resource_started"
    title: str
    card_sha256: str
    bandwidth: int | None = None


@event_class()
class LinkLost(Event):
    """The connection to the instance broke. The install continues there. ``times``: how often it broke since the last
    of these events; more than one where it breaks so often that not each time is said."""

    type: ClassVar[str] = "link_lost"
    reason: str
    times: int = 1


@event_class()
class JobReattached(Event):
    """The connection is back, after a link loss or a restart of the service."""

    type: ClassVar[str] = "job_reattached"
    after_restart: bool = False


@event_class()
class JobTakenOver(Event):
    """Another replica of the service looks after the job from here on: the one before it ended, or was lost. The
    install went on meanwhile. ``replica``: its name; ``replica_id``: never given twice."""

    type: ClassVar[str] = "job_taken_over"
    replica: str
    replica_id: int


@event_class()
class VerificationStarted(Event):
    """The tool reports success; now the service checks the files against everything that is known about them."""

    type: ClassVar[str] = "verification_started"


@event_class()
class ResourceVerified(Event):
    """One file was checked. ``result``: verified, or unverified if there was nothing to compare it with.

    ``held_against``: the source of the expected hash or size (civitdl, card) or None. ``checked``: the checks that were
    made (size, sha256, safetensors_header, magic, not_html).
    """

    type: ClassVar[str] = "resource_verified"
    file: str
    bytes: int
    sha256: str | None
    held_against: str | None
    result: str
    checked: list[str] = field(default_factory=list)


@event_class()
class ResourceStalled(Event):
    """No process of the attempt read or wrote anything for ``stall_seconds``; the service ended the attempt."""

    type: ClassVar[str] = "resource_stalled"
    stall_seconds: int


@event_class()
class ResourceRetryScheduled(Event):
    """Another attempt follows. ``delay_seconds``: counted from this event."""

    type: ClassVar[str] = "resource_retry_scheduled"
    next_attempt: int
    max_attempts: int
    delay_seconds: float
    cause: str


@event_class()
class ResourceCancelled(Event):
    """The resource was not installed because its job was cancelled. ``partial_files``: the unfinished files that its
    tool left on the instance."""

    type: ClassVar[str] = "resource_cancelled"
    exit_code: int | None = None
    seconds: float | None = None
    partial_files: list[str] = field(default_factory=list)


@event_class()
class ResourceInstalled(Event):
    """The resource is installed: the tool's output and its exit status both say so."""

    type: ClassVar[str] = "resource_installed"
    exit_code: int | None
    seconds: float


@event_class()
class ResourceFailed(Event):
    """The attempt failed. ``error`` says why, ``hint`` what to do; ``tail`` holds the last lines of output.
    ``partial_files``: the unfinished files that its tools left on the instance."""

    type: ClassVar[str] = "resource_failed"
    cause: str
    error: str
    hint: str
    exit_code: int | None
    seconds: float | None
    tail: list[str]
    partial_files: list[str] = field(default_factory=list)


@event_class()
class JobCompleted(Event):
    """Terminal: every resource is installed."""

    type: ClassVar[str] = "job_completed"
    success: bool = True
    installed: int
    total: int
    results: list[dict[str, Any]]


@event_class()
class JobFailed(Event):
    """Terminal: at least one resource is not installed. ``cause`` is that of the first failed resource.
    ``partial_files``: unfinished files that the tools left on the instance."""

    type: ClassVar[str] = "job_failed"
    success: bool = False
    error: str
    cause: str
    hint: str
    installed: int
    total: int
    results: list[dict[str, Any]]
    partial_files: list[str] = field(default_factory=list)


@event_class()
class JobCancelled(Event):
    """Terminal: a client cancelled the job. ``partial_files``: unfinished files that the tools left on the instance."""

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
# The output of tools: most of a stream, and of little use once it is old or more than a screen can show.
PRINTED_TYPES = (Progress.type, Output.type)
