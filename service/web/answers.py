"""The answers of the API as types: the handlers return them, and the description of the API is made from them.

They are dicts at run time, so that an answer of 500 jobs costs no conversion, and the models that describe them are
built only when somebody asks for the description.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.events.job import JobState
from service.web import projection
from service.web.projection import Count, Time

Sequence = Annotated[int, Field(ge=1, description="1..n within the job.")]
CODES = [
    "invalid",
    "unauthorized",
    "forbidden",
    "not_found",
    "conflict",
    "exists",
    "read_only",
    "changed",
    "version_required",
    "no_model_file",
    "key_needed",
    "site_unavailable",
    "instance_unavailable",
    "too_large",
    "unsupported_media",
    "too_many",
    "unavailable",
]
_NULL: dict[str, Any] = {"default": None}


class WrongField(TypedDict):
    """One wrong field of a request; ``field`` is empty where none can be named."""

    field: str
    message: str


class Refusal(TypedDict):
    """Every refusal has this shape."""

    success: Literal[False]
    message: Annotated[str, Field(min_length=1, description="For a person: the mistake, and the way out.")]
    code: Annotated[str, Field(description="For a program: a word that stays. Words may be added.", examples=CODES)]
    errors: list[WrongField]
    retry_after_seconds: NotRequired[Annotated[int, Field(description="Where waiting helps: how long.")]]


class Conflict(Refusal):
    """The job's state does not allow it; or, then without a state: an Idempotency-Key belongs to another request, there
    is such a card, the cards are read-only."""

    state: NotRequired[Annotated[str | None, Field(description="The job's state.", json_schema_extra=_NULL)]]
    possible: NotRequired[
        Annotated[list[str] | None, Field(description="The controls that it allows now.", json_schema_extra=_NULL)]
    ]


class Accepted(TypedDict):
    success: Literal[True]
    job_id: str
    message: str
    resource_count: Annotated[int, Field(ge=1, description="The dependencies that were added count too.")]


class Deleted(TypedDict):
    success: Literal[True]
    job_id: str
    message: str


class ResourceResult(projection.ResultFields):
    """One resource of a job; the same fields are its entry in ``results`` of the last event."""


class JobResource(projection.ResourceFields):
    """One resource with its last progress. A figure that its tool does not print is null."""


class JobSummary(projection.SummaryFields):
    """One job in a list."""

    possible: Annotated[list[str], Field(description="The controls that the job allows now.")]


class JobView(JobSummary):
    """One job with its resources."""

    resources: list[JobResource]


class Controlled(JobView):
    """The job after a control."""

    success: Literal[True]
    message: str


class ControlledJobs(TypedDict):
    success: Literal[True]
    jobs: list[JobView]


class JobPage(TypedDict):
    jobs: list[JobSummary]
    next: Annotated[str | None, Field(description="The cursor of the next page; null: this was the last page.")]


class EventPage(TypedDict):
    """A page of a history; empty after the last event."""

    job_id: str
    state: JobState
    last_sequence: Count
    skipped: NotRequired[
        Annotated[
            list[Annotated[list[Sequence], Field(min_length=2, max_length=2)]] | None,
            Field(
                description="With replay=compact: the sequences that are left out, as [first, last].",
                json_schema_extra=_NULL,
            ),
        ]
    ]
    events: list[dict[str, Any]]


class Evidence(TypedDict):
    sequence: int | None
    source_offset: Annotated[int | None, Field(description="The offset in the attempt's log after the line, in bytes.")]
    line: str | None


class Failure(TypedDict):
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


Span = TypedDict(
    "Span",
    {
        "kind": str,
        "what": str | None,
        "resource": str | None,
        "attempt": int | None,
        "sequence": Sequence,
        "from": Time,
        "to": Time | None,
        "seconds": float | None,
    },
)


class Attempt(TypedDict):
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


class Run(TypedDict):
    """One run of a tool. ``status`` None: it has not ended, or was killed."""

    resource: str
    attempt: int
    run: int
    tool: str
    file: str | None
    address: str | None
    judged: bool
    status: int | None
    bytes: int | None
    seconds: float | None
    sequence: Sequence


Throughput = TypedDict("Throughput", {"from": Time | None, "step_seconds": float | None, "bytes_per_second": list[int]})


class Report(TypedDict):
    """The post-mortem of a job, made from its events alone."""

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
    damaged_events: Annotated[int, Field(ge=0, description="Events that cannot be read in the log any more.")]
    failures: list[Failure]
    timeline: list[Span]
    attempts: list[Attempt]
    runs: list[Run]
    throughput: Throughput
    last_lines: list[str]


class FailureGroup(TypedDict):
    cause: str | None
    host: str
    card: str
    count: Annotated[int, Field(ge=1)]
    last_at: Time | None
    error: str | None


class FailureGroups(TypedDict):
    failures: list[FailureGroup]


class CardFileView(TypedDict):
    path: str
    sha256: str | None
    size: int | None


@with_config(ConfigDict(extra="allow"))
class CardView(TypedDict):
    """A resource card; the keys of its front matter that the service does not know are kept."""

    path: str
    title: str
    type: str | None
    ecosystem: str | None
    basemodel: str | None
    version: str | int | float | None
    tags: list[str]
    size: Annotated[int | None, Field(description="About how many bytes it downloads.")]
    sha256: Annotated[str, Field(description="Of the card's text.")]
    files: list[CardFileView]
    url: str | None
    license: str | None
    image: str | None
    dependencies: Annotated[list[str], Field(description="Paths, aliases or AIR names of other cards.")]
    aliases: list[str]
    AIR: str | None
    installs: Annotated[Literal["nothing"] | None, Field(description="nothing: it leaves no file below ui_home.")]
    background: Annotated[bool, Field(description="Whether what it started may outlive its script.")]
    description: str
    warnings: Annotated[list[str], Field(description="What could not be read on the card and is left out.")]


@with_config(ConfigDict(extra="allow"))
class CardWithScript(CardView):
    download: Annotated[str, Field(description="The commands that install it.")]


class BrokenCardView(TypedDict):
    path: str
    error: str


class Cards(TypedDict):
    resources: list[CardView]
    broken: list[BrokenCardView]
    writable: Annotated[bool, Field(description="Whether the service may change its cards.")]


@with_config(ConfigDict(extra="allow"))
class SavedCard(CardWithScript):
    """The card as the library has it now."""

    success: Literal[True]
    message: str


class DeletedCard(TypedDict):
    success: Literal[True]
    path: str
    message: str


class Picture(TypedDict):
    picture: Annotated[str, Field(description="A data: address.")]


class FoundFileView(TypedDict):
    name: str
    size: Annotated[int | None, Field(description="Exact, in bytes.")]
    sha256: str | None


class FileChoice(TypedDict):
    file: Annotated[str, Field(description="Its path in the repository.")]
    size: int | None


class MissingKey(TypedDict):
    setting: str
    message: str


class DuplicateCard(TypedDict):
    """A card with the same file."""

    path: str
    title: str
    why: Literal["sha256", "AIR"]


class CardPreview(TypedDict):
    """What a link would become in the library."""

    source: Literal["civitai", "huggingface", "direct"]
    path: Annotated[str, Field(description="Where the card would lie.")]
    card: Annotated[str | None, Field(description="Its text; null: one of the choices must be sent as `file`.")]
    commands: Annotated[str, Field(description="What it would run on an instance.")]
    title: str
    type: str | None
    folder: Annotated[str, Field(description="Below models/ of ComfyUI.")]
    folder_is_guess: bool
    file: FoundFileView | None
    choices: list[FileChoice]
    url: str
    version: str | None
    basemodel: str | None
    license: str | None
    creator: str | None
    trigger_words: list[str]
    image: str | None
    picture: Annotated[str | None, Field(description="If it was asked for: a data: address.")]
    missing: Annotated[list[MissingKey], Field(description="Keys without which an instance cannot download it.")]
    duplicates: list[DuplicateCard]
    notes: list[str]


class OwnedJobView(TypedDict):
    job_id: str
    instance: str
    state: str


class ReplicaView(TypedDict):
    replica_id: int
    name: str
    version: str
    is_this: Annotated[bool, Field(description="It is the one that answers.")]
    same_cards: Annotated[bool, Field(description="Whether it has the cards of the one that answers.")]
    lease_left_seconds: Annotated[float | None, Field(description="Null: it never ends.")]
    jobs: Annotated[list[OwnedJobView], Field(description="The installs that it follows.")]


class ReplicaViews(TypedDict):
    replicas: list[ReplicaView]
    left: Annotated[list[OwnedJobView], Field(description="Installs that wait for a replica to take them over.")]


class Health(TypedDict):
    status: Literal["ok"]


class DatabaseState(TypedDict):
    engine: str
    version: str
    writable: bool
    revision: str | None
    head: str | None
    synchronous_standby: Annotated[
        bool | None, Field(description="Whether a standby has each commit before it is answered; null for SQLite.")
    ]


class ReplicaState(TypedDict):
    id: Annotated[int | None, Field(description="Null while it registers anew.")]
    lease_left_seconds: Annotated[
        float | None, Field(description="How long it may still act; null where nobody shares the database.")
    ]
    is_listening: Annotated[bool | None, Field(description="Whether it hears of what others append.")]
    lag_seconds: Annotated[float | None, Field(description="Since it last looked for what others appended.")]


class LibraryState(TypedDict):
    sha256: Annotated[str | None, Field(description="Of all cards; null where nobody shares the database.")]
    same: Annotated[bool | None, Field(description="Whether all replicas have the same cards; null: not known now.")]


class Readiness(TypedDict):
    status: Literal["ready", "not ready"]
    database: DatabaseState
    replica: ReplicaState
    library: LibraryState
    sqlite_version: str | None
    detail: str | None
