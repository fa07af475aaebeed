"""The endpoints of the API, one declaration each: the router, the reading of parameters and the description come from
it. Those of keys, instances, receivers and bundles are in modules of their own.
"""

from __future__ import annotations

from typing import Any

from service.events.job import JobState
from service.store.jobs import LIST_MAX
from service.web import answers
from service.web.bundle_endpoints import BUNDLE_ENDPOINTS
from service.web.card_requests import CardRequest, NewCardRequest, PreviewRequest
from service.web.endpoint import JSON, Endpoint, Handler
from service.web.handlers import cards, events, health, install, jobs, links, replicas, reports
from service.web.handlers.cards import MARKDOWN
from service.web.handlers.events import NDJSON, SSE
from service.web.handlers.reports import HTML
from service.web.instance_endpoints import INSTANCE, INSTANCE_ENDPOINTS
from service.web.key_endpoints import KEY_ENDPOINTS
from service.web.parameters import NUMBER_MAX, TEXT, choice, matching, moment, number, part, text, texts
from service.web.receiver_endpoints import RECEIVER_ENDPOINTS
from service.web.requests import CARD_PATH_SCHEMA, ChangeRequest, InstallRequest, MoveRequest
from service.web.socket_events import COMPACT
from service.web.vast_endpoints import VAST_ENDPOINTS
from service.web.workflow_endpoints import WORKFLOW_ENDPOINTS

JOB_LOCATION = "/resources/jobs/{job_id}"
CARD_LOCATION = "/resources/{path}"

JOB = part("job_id", {"type": "string", "pattern": "^[0-9a-f-]{1,64}$"}, "The job's id.")
CARD = part(
    "path",
    CARD_PATH_SCHEMA,
    "The card's path in the library; slashes are part of it.",
    example="checkpoints/flux_schnell.md",
    route=r".+\.md",
)
CARD_SEEN = matching(
    "If-Match",
    r'\*|(?:W/)?"[0-9a-f]{64}"',
    "must be the ETag of the card, or * for any version",
    "The version that the caller saw: the ETag of the card.",
    within="header",
    read=lambda given: given.removeprefix("W/").strip('"'),
)
CARD_EXAMPLE = (
    '---\ntitle: 4x-UltraSharp\n---\n# Download\n```bash\nwget -c -P "$UI_HOME/models/vae" "https://…"\n```\n'
)
LINK_EXAMPLE = "https://civitai.com/models/1678575?modelVersionId=1900322"
INSTALL_EXAMPLE = {
    "ssh_host": "203.0.113.7",
    "ssh_port": 44686,
    "ui_home": "/workspace/ComfyUI",
    "resources": ["checkpoints/flux_schnell.md"],
}


def _control(path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    """A control of one job: it answers 202 with the job, or 409 with the possible controls."""
    errors = (404, 409) if "body" not in more else (400, 404, 409, 413, 415)
    return Endpoint(
        **{"method": "post", **more},
        path=f"/resources/jobs/{{job_id}}{path}",
        handler=handler,
        summary=summary,
        answer=answers.Controlled,
        status=202,
        parameters=(JOB,),
        errors=errors,
        location=JOB_LOCATION,
    )


def _instance_control(path: str, handler: Handler, summary: str) -> Endpoint:
    return Endpoint(
        method="post",
        path=f"/resources/instances/{{instance}}{path}",
        handler=handler,
        summary=summary,
        answer=answers.ControlledJobs,
        status=202,
        parameters=(INSTANCE,),
        errors=(404, 409),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="post",
        path="/resources/install",
        handler=install.install,
        summary="Start an install",
        note="Dependencies of the cards are added, once each. An unknown field is refused by name.",
        answer=answers.Accepted,
        status=202,
        body=InstallRequest,
        example=INSTALL_EXAMPLE,
        parameters=(
            matching(
                "Idempotency-Key",
                r"[!-~]{1,255}",
                "must be 1 to 255 printable ASCII characters without spaces",
                "The same request, sent again under the same key, gives the same job.",
                within="header",
            ),
        ),
        errors=(400, 404, 409, 413, 415),
        location=JOB_LOCATION,
    ),
    Endpoint(
        method="get",
        path="/resources/jobs",
        handler=jobs.list_jobs,
        summary="The jobs, newest first",
        answer=answers.JobPage,
        parameters=(
            choice("state", [state.value for state in JobState], "Only jobs in this state."),
            text("host", "Only jobs on this host."),
            matching(
                "cursor",
                r"[0-9]{1,18}",
                'must be the "next" of an earlier page, without changes',
                "The `next` of the page before.",
            ),
            number("limit", 1, LIST_MAX, 50, "Jobs in a page."),
        ),
        errors=(400,),
    ),
    Endpoint(
        method="get",
        path="/resources/jobs/{job_id}",
        handler=jobs.show_job,
        summary="One job with its resources",
        answer=answers.JobView,
        parameters=(JOB,),
        errors=(404,),
    ),
    _control(
        "",
        jobs.change_job,
        "Change a job's limits, from the next resource on",
        note="`null` removes the limit.",
        method="patch",
        body=ChangeRequest,
        example={"bandwidth_limit": 10_000_000},
    ),
    Endpoint(
        method="delete",
        path="/resources/jobs/{job_id}",
        handler=jobs.delete_job,
        summary="Delete an ended job and its history",
        answer=answers.Deleted,
        parameters=(JOB,),
        errors=(404, 409),
    ),
    _control("/pause", jobs.pause_job, "Stop what runs on the instance (SIGSTOP), or hold the job in its queue"),
    _control("/resume", jobs.resume_job, "Continue a paused job"),
    _control(
        "/cancel",
        jobs.cancel_job,
        "End a job",
        note="What runs gets TERM, and KILL after 10 seconds; the job then names the files that are half done.",
    ),
    _control(
        "/retry",
        jobs.retry_job,
        "Start a new job with the resources that this one did not install",
        note="Its `retry_of` names the old one.",
    ),
    _control(
        "/move",
        jobs.move_job,
        "Give a job another place in the queue of its instance",
        note="`before`: a job's id, `first` or `last`.",
        body=MoveRequest,
        example={"before": "first"},
    ),
    _instance_control("/pause", jobs.pause_instance, "Pause all jobs of an instance"),
    _instance_control("/resume", jobs.resume_instance, "Continue all jobs of an instance"),
    Endpoint(
        method="get",
        path="/resources/jobs/{job_id}/events",
        handler=events.read_events,
        summary="The history of a job, in three forms",
        note="As a JSON page; as NDJSON with `Accept: application/x-ndjson` (the whole history, one event a line); or "
        "as server-sent events with `Accept: text/event-stream`: the history, then each new event, up to the terminal "
        "one. `id` is the sequence, and a client that reconnects continues after its `Last-Event-ID`. 204: no event "
        "can follow. `replay=compact`: JSON without what tools printed, but with the last progress of each stage; "
        "`skipped` lists the sequences that are left out.",
        answer={
            JSON: answers.EventPage,
            NDJSON: {"type": "string", "description": "One Event as JSON in each line."},
            SSE: {"type": "string", "description": "`id: <sequence>` and `data: <Event as JSON>`."},
        },
        more={204: "The job has ended, and the client has seen every event."},
        parameters=(
            JOB,
            number("after", 0, NUMBER_MAX, 0, "The last sequence that the client has seen."),
            number("limit", 1, 10_000, 1_000, "Events in a page."),
            texts("type", "types", "Only events of this type; may be given several times."),
            choice(
                "replay",
                ("full", "compact"),
                COMPACT,
                default="full",
            ),
            matching(
                "Last-Event-ID",
                r"[0-9]{0,16}",
                "must be the id of an event, an integer",
                "For text/event-stream: takes precedence over `after`.",
                within="header",
                read=lambda given: int(given) if given else None,
            ),
        ),
        errors=(400, 404),
    ),
    Endpoint(
        method="get",
        path="/resources/jobs/{job_id}/report",
        handler=reports.report_job,
        summary="The post-mortem of a job",
        note="Causes with their evidence (sequence and byte offset), what a retry would do, a timeline, attempts, "
        "throughput; with `Accept: text/html` as a page that prints well.",
        answer={JSON: answers.Report, HTML: {"type": "string", "description": "A page that prints well."}},
        parameters=(JOB, choice("format", ("json", "html"), "Takes precedence over the Accept header.")),
        errors=(400, 404),
    ),
    Endpoint(
        method="get",
        path="/resources/failures",
        handler=reports.list_failures,
        summary="Failed resources, grouped by cause, host and card",
        answer=answers.FailureGroups,
        parameters=(
            moment("since", "Only of jobs that ended at or after this time."),
            number("limit", 1, LIST_MAX, 100, "Groups, the largest first."),
        ),
        errors=(400,),
    ),
    Endpoint(
        method="get",
        path="/resources",
        handler=cards.list_cards,
        summary="The library of cards; broken ones by name and reason",
        answer=answers.Cards,
    ),
    Endpoint(
        method="post",
        path="/resources/preview",
        handler=links.preview_card,
        summary="What a link would become in the library",
        note="Asks CivitAI, Hugging Face or the file's own server; writes nothing. Its `card` and `commands` are what "
        "`POST /resources` would save.",
        answer=answers.CardPreview,
        body=PreviewRequest,
        example={"url": LINK_EXAMPLE},
        errors=(400, 404, 413, 415, 502),
    ),
    Endpoint(
        method="post",
        path="/resources",
        handler=cards.add_card,
        summary="Add a card: of a link, or of a text",
        note="With `card`, the text of one, `path` says where it shall lie. A card that is there is never replaced.",
        answer=answers.SavedCard,
        status=201,
        body=NewCardRequest,
        example={"url": LINK_EXAMPLE},
        errors=(400, 404, 409, 413, 415, 502),
        location=CARD_LOCATION,
        version="sha256",
    ),
    Endpoint(
        method="get",
        path="/resources/{path}",
        handler=cards.show_card,
        summary="One card",
        note="400: the card exists, but is broken. Its text, also of a broken one, with `Accept: text/markdown`. The "
        "`ETag` is its version.",
        answer={JSON: answers.CardWithScript, MARKDOWN: {"type": "string", "description": "The whole file."}},
        parameters=(CARD,),
        errors=(400, 404),
        version="sha256",
    ),
    Endpoint(
        method="put",
        path="/resources/{path}",
        handler=cards.change_card,
        summary="Change a card",
        note="412: somebody else changed it since.",
        answer=answers.SavedCard,
        body=CardRequest,
        example={"card": CARD_EXAMPLE},
        parameters=(CARD, CARD_SEEN),
        errors=(400, 404, 409, 412, 413, 415, 428),
        version="sha256",
    ),
    Endpoint(
        method="delete",
        path="/resources/{path}",
        handler=cards.delete_card,
        summary="Delete a card",
        note="What it installed stays. 412: somebody else changed it since.",
        answer=answers.DeletedCard,
        parameters=(CARD, CARD_SEEN),
        errors=(400, 404, 409, 412, 428),
    ),
    Endpoint(
        method="get",
        path="/resources/{path}/picture",
        handler=cards.show_picture,
        summary="The picture of a card, fetched by the service",
        answer=answers.Picture,
        parameters=(CARD,),
        errors=(400, 404, 502),
    ),
    *KEY_ENDPOINTS,
    *INSTANCE_ENDPOINTS,
    *VAST_ENDPOINTS,
    *WORKFLOW_ENDPOINTS,
    *BUNDLE_ENDPOINTS,
    *RECEIVER_ENDPOINTS,
    Endpoint(
        method="get",
        path="/healthz",
        handler=health.is_alive,
        summary="The service is alive",
        answer=answers.Health,
        is_open=True,
    ),
    Endpoint(
        method="get",
        path="/replicas",
        handler=replicas.list_replicas,
        summary="The replicas that share the database, and the installs that each of them follows",
        answer=answers.ReplicaViews,
    ),
    Endpoint(
        method="get",
        path="/readyz",
        handler=health.is_ready,
        summary="The service is able to work: its database is writable and migrated, and its lease lasts",
        answer=answers.Readiness,
        more={503: answers.Readiness},
        is_open=True,
    ),
    Endpoint(
        method="get",
        path="/metrics",
        handler=health.metrics,
        summary="Figures for Prometheus",
        note="Jobs by state, the queue, events appended, commit and publish times, clients and the lag of replays, "
        "bytes read from instances, the size of the WAL, this replica among those that share the database.",
        answer={"text/plain": TEXT},
    ),
    Endpoint(
        method="get",
        path="/openapi.json",
        handler=health.describe,
        summary="The description of this API, OpenAPI 3.1",
        note="`/docs` is a page that shows it.",
        answer={JSON: {"type": "object", "required": ["openapi", "info", "paths"]}},
    ),
    Endpoint(
        method="get",
        path="/asyncapi.json",
        handler=health.describe_events,
        summary="The description of the Socket.IO interface, AsyncAPI 3.0",
        answer={JSON: {"type": "object", "required": ["asyncapi", "info", "channels"]}},
    ),
)
OPEN_PATHS = frozenset(endpoint.path for endpoint in ENDPOINTS if endpoint.is_open)
