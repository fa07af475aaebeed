"""The operations of the HTTP face, one entry each: what the description of the API says of the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from service.events.job import JobState
from service.web import answers
from service.web.requests import CARD_PATH_SCHEMA, ChangeRequest, InstallRequest, MoveRequest

JSON = "application/json"
TEXT = {"type": "string"}
NUMBER_MAX = 2**53
JOB_LOCATION = {"Location": {"description": "The job.", "required": True, "schema": TEXT}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """``answer``: the model, or the content types with a model or a schema each, or None for no body. ``errors``: the
    refusals beside those that every operation has."""

    method: str
    path: str
    name: str
    summary: str
    answer: type[BaseModel] | Mapping[str, Any]
    status: int = 200
    more: Mapping[int, Any] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    example: Any = None
    parameters: Sequence[Mapping[str, Any]] = ()
    errors: Sequence[int] = ()
    headers: Mapping[str, Any] = field(default_factory=dict)
    is_open: bool = False
    note: str = ""


def _query(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": dict(schema), "description": description}


def _path(name: str, schema: Mapping[str, Any], description: str, example: str | None = None) -> dict[str, Any]:
    path = {"name": name, "in": "path", "required": True, "schema": dict(schema), "description": description}
    return path if example is None else {**path, "example": example}


def _header(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": dict(schema), "description": description}


def _whole(least: int, most: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


JOB = _path("job_id", {"type": "string", "pattern": "^[0-9a-f-]{1,64}$"}, "The job's id.")
INSTANCE = _path("instance", {"type": "string", "pattern": "^[^/]+$"}, "user@host:port, as the jobs name it.")
CARD = _path(
    "path", CARD_PATH_SCHEMA, "The card's path in the library; slashes are part of it.", "checkpoints/flux_schnell.md"
)
INSTALL_EXAMPLE = {
    "ssh_host": "203.0.113.7",
    "ssh_port": 44686,
    "ui_home": "/workspace/ComfyUI",
    "resources": ["checkpoints/flux_schnell.md"],
}
EVENTS_NOTE = (
    "As a JSON page, as NDJSON with `Accept: application/x-ndjson` (the whole history, one event a line), or as "
    "server-sent events with `Accept: text/event-stream`: replayed, then followed until behind the terminal event; "
    "`id` is the sequence, and a client that comes back goes on behind its `Last-Event-ID`. 204: nothing can follow."
)


def _control(name: str, summary: str) -> Operation:
    return Operation(
        method="post",
        path=f"/resources/jobs/{{job_id}}/{name}",
        name=f"{name}_job",
        summary=summary,
        answer=answers.Controlled,
        status=202,
        parameters=(JOB,),
        errors=(404, 409),
        headers=JOB_LOCATION,
    )


def _on_instance(name: str, summary: str) -> Operation:
    return Operation(
        method="post",
        path=f"/resources/instances/{{instance}}/{name}",
        name=f"{name}_instance",
        summary=summary,
        answer=answers.ControlledJobs,
        status=202,
        parameters=(INSTANCE,),
        errors=(404, 409),
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="post",
        path="/resources/install",
        name="install",
        summary="Start an install",
        note="Dependencies of the cards are added, once each. An unknown field is refused by name.",
        answer=answers.Accepted,
        status=202,
        body=InstallRequest,
        example=INSTALL_EXAMPLE,
        parameters=(
            _header(
                "Idempotency-Key",
                {"type": "string", "pattern": r"^[!-~]{1,255}$"},
                "The same request, sent again under the same key, gives the same job.",
            ),
        ),
        errors=(400, 404, 409, 413, 415),
        headers=JOB_LOCATION,
    ),
    Operation(
        method="get",
        path="/resources/jobs",
        name="list_jobs",
        summary="The jobs, newest first",
        answer=answers.JobPage,
        parameters=(
            _query("state", {"type": "string", "enum": [state.value for state in JobState]}, "Only these."),
            _query("host", TEXT, "Only those of this host."),
            _query("cursor", {"type": "string", "pattern": "^[0-9]{1,18}$"}, "The `next` of the page before."),
            _query("limit", _whole(1, 500, 50), "Jobs in a page."),
        ),
        errors=(400,),
    ),
    Operation(
        method="get",
        path="/resources/jobs/{job_id}",
        name="show_job",
        summary="One job as it stands",
        answer=answers.JobView,
        parameters=(JOB,),
        errors=(404,),
    ),
    Operation(
        method="patch",
        path="/resources/jobs/{job_id}",
        name="change_job",
        summary="Change a job's limits, from the next resource on",
        answer=answers.Controlled,
        status=202,
        body=ChangeRequest,
        example={"bandwidth_limit": 10_000_000},
        parameters=(JOB,),
        errors=(400, 404, 409, 413, 415),
        headers=JOB_LOCATION,
    ),
    Operation(
        method="delete",
        path="/resources/jobs/{job_id}",
        name="delete_job",
        summary="Forget an ended job",
        answer=answers.Deleted,
        parameters=(JOB,),
        errors=(404, 409),
    ),
    _control("pause", "Stop what runs on the instance, or hold the job in its queue"),
    _control("resume", "Let a paused job go on"),
    _control("cancel", "End a job"),
    _control("retry", "A new job with what was not installed"),
    Operation(
        method="post",
        path="/resources/jobs/{job_id}/move",
        name="move_job",
        summary="Another place in the queue of its instance",
        answer=answers.Controlled,
        status=202,
        body=MoveRequest,
        example={"before": "first"},
        parameters=(JOB,),
        errors=(400, 404, 409, 413, 415),
        headers=JOB_LOCATION,
    ),
    _on_instance("pause", "Pause all jobs of an instance"),
    _on_instance("resume", "Let all jobs of an instance go on"),
    Operation(
        method="get",
        path="/resources/jobs/{job_id}/events",
        name="read_events",
        summary="The history of a job, in three forms",
        note=EVENTS_NOTE,
        answer={
            JSON: answers.EventPage,
            "application/x-ndjson": {"type": "string", "description": "One Event as JSON in each line."},
            "text/event-stream": {"type": "string", "description": "`id: <sequence>` and `data: <Event as JSON>`."},
        },
        more={204: "The job has ended, and all of it was seen."},
        parameters=(
            JOB,
            _query("after", _whole(0, NUMBER_MAX, 0), "The last sequence that was seen."),
            _query("limit", _whole(1, 10_000, 1_000), "Events in a page."),
            _query("type", {"type": "array", "items": TEXT}, "Only events of these types; may stand several times."),
            _query(
                "replay",
                {"type": "string", "enum": ["full", "compact"], "default": "full"},
                "compact: all but what tools printed, with the last progress of each resource and stage.",
            ),
            _header(
                "Last-Event-ID",
                {"type": "string", "pattern": "^[0-9]{0,16}$"},
                "For text/event-stream: goes before `after`.",
            ),
        ),
        errors=(400, 404),
    ),
    Operation(
        method="get",
        path="/resources/jobs/{job_id}/report",
        name="report_job",
        summary="The post-mortem of a job",
        answer={JSON: answers.Report, "text/html": {"type": "string", "description": "A page that prints well."}},
        parameters=(
            JOB,
            _query("format", {"type": "string", "enum": ["json", "html"]}, "Goes before the Accept header."),
        ),
        errors=(400, 404),
    ),
    Operation(
        method="get",
        path="/resources/failures",
        name="list_failures",
        summary="What failed, grouped by cause, host and card",
        answer=answers.FailureGroups,
        parameters=(
            _query("since", {"type": "string", "format": "date-time"}, "Of jobs that ended at or after this time."),
            _query("limit", _whole(1, 500, 100), "Groups, the largest first."),
        ),
        errors=(400,),
    ),
    Operation(
        method="get",
        path="/resources",
        name="list_cards",
        summary="The library of cards; broken ones by name and reason",
        answer=answers.Cards,
    ),
    Operation(
        method="get",
        path="/resources/{path}",
        name="show_card",
        summary="One card",
        note="400: the card is there, but broken.",
        answer=answers.CardWithScript,
        parameters=(CARD,),
        errors=(400, 404),
    ),
    Operation(
        method="get",
        path="/healthz",
        name="is_alive",
        summary="The service is alive",
        answer=answers.Health,
        is_open=True,
    ),
    Operation(
        method="get",
        path="/readyz",
        name="is_ready",
        summary="The service is able to work: its database is writable and migrated",
        answer=answers.Readiness,
        more={503: answers.Readiness},
        is_open=True,
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        summary="Figures for Prometheus",
        answer={"text/plain": TEXT},
    ),
    Operation(
        method="get",
        path="/openapi.json",
        name="describe",
        summary="This description",
        answer={JSON: {"type": "object", "required": ["openapi", "info", "paths"]}},
    ),
)
