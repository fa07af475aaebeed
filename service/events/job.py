"""A job as its events add up to it: its states, its resources, and the JSON forms in which a client sees them.

Everything else follows from the fields here: the columns of the database (store/tables.py), the models of the API's
answers (web/answers.py) and from those the types of the dashboard. A new field of the projection is one line in
``Job`` or ``ResourceProgress`` and, if clients may see it, its name in a ``View``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from service.events.addresses import instance_key, instance_name
from service.events.view import View


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    # Enum's own is Python code, and every event looks its job's state up.
    __hash__ = str.__hash__


class ResourceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    INSTALLED = "installed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Standing(StrEnum):
    """Where a job stands in the table of transitions: its state, and for a paused one whether it had been started. A
    job that was paused in the queue goes back there; a started one keeps its instance."""

    QUEUED = "queued"
    PAUSED_IN_QUEUE = "paused in the queue"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__

    @property
    def state(self) -> JobState:
        return _STATES[self]


_STANDINGS = {state: Standing(state.value) for state in JobState}
_STATES = {standing: state for state, standing in _STANDINGS.items()} | {Standing.PAUSED_IN_QUEUE: JobState.PAUSED}

CONNECTED = "connected"
RECONNECTING = "reconnecting"
ACTIVE_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
ENDED_STATES = (ResourceState.INSTALLED, ResourceState.FAILED, ResourceState.CANCELLED)
DOWNLOAD, VERIFY = "download", "verify"
JOB_CANCELLED = "the job was cancelled"


class ResourceProgress(NamedTuple):
    """One resource of a job: its state, and the last progress that its tool printed. ``number`` counts from 1.

    ``phase``: download or verify; ``source_offset`` counts in the log of that phase. ``retry_at_ms``: when the next
    attempt may begin. ``verified``: verified or unverified, once its files were checked. ``bandwidth``: the limit of
    this attempt in bytes a second. ``progress_at_ms``: of the last progress, which brought the two estimates.
    """

    number: int
    resource: str
    title: str
    dependencies: tuple[str, ...] = ()
    size_bytes: int | None = None
    state: ResourceState = ResourceState.PENDING
    phase: str = DOWNLOAD
    bandwidth: int | None = None
    retry_at_ms: int | None = None
    verified: str | None = None
    attempt: int = 0
    card_sha256: str | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    name: str | None = None
    # From here to the offset: what a bar changes.
    stage: str | None = None
    percent: int | None = None
    downloaded_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    resource_eta_seconds: float | None = None
    job_eta_seconds: float | None = None
    progress_at_ms: int | None = None
    source_offset: int = 0
    cause: str | None = None
    error: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    seconds: float | None = None

    def result(self) -> dict[str, Any]:
        """The entry of this resource in ``results``."""
        return RESULT_VIEW.of(self)

    def to_dict(self) -> dict[str, Any]:
        return RESOURCE_VIEW.of(self)


class Job(NamedTuple):
    """The projection of one stream. A tuple, like its resources: one is made for every event.

    ``removes``: the files below models/ that a job without resources removes. ``wait_for_ssh_seconds``: for an instance
    that does not answer yet, None for the service's setting.

    What every event changes, ``state`` to ``last_at_ms``, lies side by side: see fold.py.
    ``events_format``: the newest in its stream. ``owner``: the replica that runs it, or ran it last; ``epoch`` counts
    its owners. Neither of the last two is in the log.
    """

    job_id: str
    ssh_host: str
    ssh_port: int
    ssh_user: str
    ui_home: str
    created_at_ms: int
    state: JobState
    last_sequence: int
    resources: tuple[ResourceProgress, ...]
    last_at_ms: int = 0
    link: str | None = None
    host_key_sha256: str | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    error: str | None = None
    cause: str | None = None
    parallel: int = 1
    bandwidth_limit: int | None = None
    max_attempts: int = 3
    verify: bool = True
    reinstall: bool = False
    removes: tuple[str, ...] = ()
    wait_for_ssh_seconds: int | None = None
    place: str = ""
    cancel_requested_at_ms: int | None = None
    retry_of: str | None = None
    idempotency_key: str | None = None
    body_sha256: str | None = None
    queue_position: int | None = None
    thinned_at_ms: int | None = None
    events_format: int = 1
    owner: int | None = None
    epoch: int = 0

    @property
    def standing(self) -> Standing:
        is_in_queue = self.state is JobState.PAUSED and self.started_at_ms is None
        return Standing.PAUSED_IN_QUEUE if is_in_queue else _STANDINGS[self.state]

    @property
    def is_cancelling(self) -> bool:
        return self.cancel_requested_at_ms is not None and not self.is_terminal

    @property
    def job_eta_seconds(self) -> float | None:
        """As of the last progress of any resource; None while the job does not run."""
        known = [r for r in self.resources if r.state is ResourceState.RUNNING and r.progress_at_ms is not None]
        if self.state is not JobState.RUNNING or not known:
            return None
        return max(known, key=lambda r: r.progress_at_ms or 0).job_eta_seconds

    @property
    def instance(self) -> str:
        return instance_name(self.ssh_user, self.ssh_host, self.ssh_port)

    @property
    def instance_key(self) -> str:
        """What the queue knows the instance by."""
        return instance_key(self.ssh_host, self.ssh_port)

    @property
    def is_terminal(self) -> bool:
        return self.state not in ACTIVE_STATES

    @property
    def total(self) -> int:
        return len(self.resources)

    @property
    def installed(self) -> int:
        return sum(r.state is ResourceState.INSTALLED for r in self.resources)

    def find(self, path: str) -> ResourceProgress:
        return next(r for r in self.resources if r.resource == path)

    def with_the_rest_cancelled(self) -> Job:
        """The job with every resource cancelled that had not ended."""
        rest: dict[str, Any] = {"state": ResourceState.CANCELLED, "cause": "cancelled", "error": JOB_CANCELLED}
        rest |= {"hint": None, "retry_at_ms": None}
        resources = [r if r.state in ENDED_STATES else r._replace(**rest) for r in self.resources]
        return self._replace(resources=tuple(resources))

    def results(self) -> list[dict[str, Any]]:
        return [r.result() for r in self.resources]

    def summary(self) -> dict[str, Any]:
        """The entry of this job in a list."""
        return SUMMARY_VIEW.of(self)

    def to_dict(self) -> dict[str, Any]:
        return {**self.summary(), "resources": [r.to_dict() for r in self.resources]}


_RESULT = ("resource", "state", "attempt", "cause", "error", "hint", "exit_code", "seconds")
RESULT_VIEW = View(ResourceProgress, *_RESULT)
RESOURCE_VIEW = View(
    ResourceProgress,
    *_RESULT,
    "title",
    "dependencies",
    "name",
    "stage",
    "percent",
    "downloaded_bytes",
    "total_bytes",
    "bytes_per_second",
    "eta_seconds",
    "resource_eta_seconds",
    "size_bytes",
    "verified",
    "retry_at_ms",
    "started_at_ms",
    "ended_at_ms",
)
SUMMARY_VIEW = View(
    Job,
    "job_id",
    "state",
    "link",
    "instance",
    "ui_home",
    "last_sequence",
    "created_at_ms",
    "started_at_ms",
    "ended_at_ms",
    "installed",
    "total",
    "error",
    "cause",
    "queue_position",
    "job_eta_seconds",
    "is_cancelling",
    "parallel",
    "bandwidth_limit",
    "max_attempts",
    "verify",
    "reinstall",
    "removes",
    "wait_for_ssh_seconds",
    "retry_of",
    "thinned_at_ms",
)
