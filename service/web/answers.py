"""The answers of the HTTP face, as models: what the description of the API is made of, and what tests hold answers
against. The service itself answers with what its parts say of themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.events.job import JobState, ResourceState

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339 in UTC, milliseconds.")]
Sequence = Annotated[int, Field(ge=1, description="1..n within the job.")]
Count = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WrongField(Answer):
    """One wrong field of a request; ``field`` is empty where none can be named."""

    field: str
    message: str


class Refusal(Answer):
    """Every refusal has this shape."""

    success: Literal[False]
    message: Annotated[str, Field(min_length=1, description="For a person: what is wrong, and the way out.")]
    errors: list[WrongField]


class Conflict(Refusal):
    """The job's state does not allow it, or an Idempotency-Key belongs to another request (then without a state)."""

    state: Annotated[str | None, Field(description="Where the job stands.")] = None
    possible: Annotated[list[str] | None, Field(description="The controls that it allows now.")] = None


class Accepted(Answer):
    success: Literal[True]
    job_id: str
    message: str
    resource_count: Annotated[int, Field(ge=1, description="With the dependencies that were added.")]


class Deleted(Answer):
    success: Literal[True]
    job_id: str
    message: str


class ResourceResult(Answer):
    """How one resource of a job stands; after the end, the entry of it in ``results``."""

    resource: str
    state: ResourceState
    attempt: Count
    cause: str | None
    error: str | None
    hint: str | None
    exit_code: int | None
    seconds: float | None


class JobResource(ResourceResult):
    """One resource with its last progress. What its tool does not print is null."""

    title: str
    dependencies: list[str]
    name: str | None
    stage: str | None
    percent: Annotated[int, Field(ge=0, le=100)] | None
    downloaded_bytes: int | None
    total_bytes: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    resource_eta_seconds: float | None
    size_bytes: int | None
    verified: str | None
    retry_at: Time | None
    started_at: Time | None
    ended_at: Time | None


class JobSummary(Answer):
    """One job in a list."""

    job_id: str
    state: JobState
    link: Annotated[str | None, Field(description="connected or reconnecting, while the job runs.")]
    instance: Annotated[str, Field(description="user@host:port")]
    ui_home: str
    last_sequence: Count
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    installed: Count
    total: Count
    error: str | None
    cause: str | None
    queue_position: int | None
    job_eta_seconds: float | None
    cancelling: bool
    parallel: int
    bandwidth_limit: int | None
    max_attempts: int
    verify: bool
    retry_of: str | None
    thinned_at: Time | None


class JobView(JobSummary):
    """One job as it stands."""

    resources: list[JobResource]


class Controlled(JobView):
    """The job behind a control."""

    success: Literal[True]
    message: str


class ControlledJobs(Answer):
    success: Literal[True]
    jobs: list[JobView]


class JobPage(Answer):
    jobs: list[JobSummary]
    next: Annotated[str | None, Field(description="The cursor of the next page; null: this was the last.")]


class EventPage(Answer):
    """A page of a history; empty behind the last event."""

    job_id: str
    state: JobState
    last_sequence: Count
    skipped: Annotated[
        list[Annotated[list[Sequence], Field(min_length=2, max_length=2)]] | None,
        Field(description="With replay=compact: the sequences that are left out, as [first, last]."),
    ] = None
    events: list[dict[str, Any]]


class Evidence(Answer):
    sequence: int | None
    source_offset: Annotated[int | None, Field(description="The byte in the attempt's log behind the line.")]
    line: str | None


class Failure(Answer):
    resource: str
    attempt: int
    cause: str | None
    error: str | None
    hint: str | None
    exit_code: int | None
    evidence: list[Evidence]
    retry_would_help: bool
    retry: str
    last_lines: list[str]


class Span(Answer):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_name=True, validate_by_alias=True)

    kind: str
    resource: str | None
    attempt: int | None
    sequence: Sequence
    begin: Annotated[Time, Field(alias="from")]
    to: Time | None
    seconds: float | None


class Attempt(Answer):
    resource: str
    attempt: int
    outcome: str
    cause: str | None
    error: str | None
    exit_code: int | None
    started_at: Time
    ended_at: Time | None
    seconds: float | None
    bytes: Count
    bytes_per_second: int | None


class Throughput(Answer):
    begin: Annotated[Time | None, Field(alias="from")]
    step_seconds: float | None
    bytes_per_second: list[int]


class Report(Answer):
    """The post-mortem of a job, from its events alone."""

    job_id: str
    instance: str
    ui_home: str
    resources: list[str]
    retry_of: str | None
    created_at: Time
    started_at: Time | None
    state: str
    ended_at: Time | None
    installed: int | None
    total: Count
    cause: str | None
    error: str | None
    hint: str | None
    events: Count
    failures: list[Failure]
    timeline: list[Span]
    attempts: list[Attempt]
    throughput: Throughput
    last_lines: list[str]


class FailureGroup(Answer):
    cause: str | None
    host: str
    card: str
    count: Annotated[int, Field(ge=1)]
    last_at: Time | None
    error: str | None


class FailureGroups(Answer):
    failures: list[FailureGroup]


class CardFileView(Answer):
    path: str
    sha256: str | None
    size: int | None


class CardView(Answer):
    """A resource card; the keys of its front matter that the service does not know are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    path: str
    title: str
    type: str | None
    ecosystem: str | None
    basemodel: str | None
    version: str | int | float | None
    tags: list[str]
    size: int | None
    sha256: Annotated[str, Field(description="Of the card's text.")]
    files: list[CardFileView]
    url: str | None
    license: str | None
    image: str | None
    dependencies: list[str]
    description: str


class CardWithScript(CardView):
    download: Annotated[str, Field(description="The commands that install it.")]


class BrokenCardView(Answer):
    path: str
    error: str


class Cards(Answer):
    resources: list[CardView]
    broken: list[BrokenCardView]


class Health(Answer):
    status: Literal["ok"]


class DatabaseState(Answer):
    writable: bool
    revision: str | None
    head: str | None


class Readiness(Answer):
    status: Literal["ready", "not ready"]
    database: DatabaseState
    sqlite_version: str
    detail: str | None
