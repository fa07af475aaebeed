"""HTTP: start an install, control jobs, look at them, read their history in three forms, look into the library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.errors import FieldError, InvalidRequest, TargetRefused, UnknownResource, UnsupportedMediaType
from service.events.event_types import JobQueued
from service.events.job import Job, JobState, ResourceState
from service.events.recorded_event import RecordedEvent, skipped_ranges
from service.library import Library, Resource
from service.report.page import report_page
from service.report.post_mortem import Reporter
from service.runner.controls import Controls
from service.store.database import Database
from service.store.event_store import EventStore
from service.store.jobs import LIST_MAX, Jobs
from service.store.journal import Journal
from service.web.guard import BODY_BYTES_MAX, cors_headers
from service.web.requests import ChangeRequest, MoveRequest, parse, parse_install, parse_key

EVENTS_LIMIT = 1_000
EVENTS_LIMIT_MAX = 10_000
STREAM_PAGE_EVENTS = 2_000
SSE_KEEPALIVE_SECONDS = 15.0
JOBS_LIMIT = 50
NUMBER_MAX = 2**53
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAILURES_LIMIT = 100
EPOCH = datetime.fromtimestamp(0, UTC)
# The report's own style stands in it, and nothing else is loaded or run.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The handlers and what they need. ``check_host`` raises TargetRefused. ``max_attempts``: of a job that does not
    say."""

    journal: Journal
    event_store: EventStore
    jobs: Jobs
    library: Library
    database: Database
    controls: Controls
    check_host: Callable[[str, int], None]
    ssh_user: str
    max_attempts: int
    stopping: asyncio.Event
    description: Callable[[], bytes]
    metrics: Callable[[], Awaitable[bytes]]

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/resources/install", self.install)
        app.router.add_get("/resources/jobs", self.list_jobs)
        app.router.add_get("/resources/jobs/{job_id}", self.job)
        app.router.add_get("/resources/jobs/{job_id}/events", self.events)
        app.router.add_patch("/resources/jobs/{job_id}", self.change)
        app.router.add_delete("/resources/jobs/{job_id}", self.delete)
        for name in ("pause", "resume", "cancel", "retry"):
            app.router.add_post(f"/resources/jobs/{{job_id}}/{name}", self._control(getattr(self.controls, name)))
        app.router.add_post("/resources/jobs/{job_id}/move", self.move)
        for name in ("pause", "resume"):
            control = getattr(self.controls, f"{name}_instance")
            app.router.add_post(f"/resources/instances/{{instance}}/{name}", self._instance_control(control))
        app.router.add_get("/resources/jobs/{job_id}/report", self.report)
        app.router.add_get("/resources/failures", self.failures)
        app.router.add_get("/resources", self.resources)
        app.router.add_get(r"/resources/{path:.+\.md}", self.resource)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.figures)
        app.router.add_get("/openapi.json", self.openapi)

    async def install(self, request: web.Request) -> web.Response:
        wanted = parse_install(await _body(request))
        key = parse_key(request.headers.get("Idempotency-Key"))
        try:
            self.check_host(wanted.ssh_host, wanted.ssh_port)
        except TargetRefused as error:
            raise InvalidRequest(str(error), [FieldError("ssh_host", str(error))]) from error
        resolved = self.library.resolve(wanted.resources)
        queued = JobQueued(
            ssh_host=wanted.ssh_host,
            ssh_port=wanted.ssh_port,
            ssh_user=wanted.ssh_user or self.ssh_user,
            ui_home=wanted.ui_home,
            host_key_sha256=wanted.host_key_sha256,
            parallel=wanted.parallel,
            bandwidth_limit=wanted.bandwidth_limit,
            max_attempts=wanted.max_attempts or self.max_attempts,
            verify=wanted.verify,
            idempotency_key=key,
            body_sha256=wanted.digest() if key is not None else None,
            resources=[_entry(resource) for resource in resolved],
        )
        job, is_new = await self.controls.start(queued)
        answer = {
            "success": True,
            "job_id": job.job_id,
            "message": "Installation started" if is_new else "Installation was started by an earlier request",
            "resource_count": job.total,
        }
        return web.json_response(answer, status=202, headers={"Location": f"/resources/jobs/{job.job_id}"})

    async def list_jobs(self, request: web.Request) -> web.Response:
        state = request.query.get("state")
        if state is not None and state not in tuple(JobState):
            raise _wrong("state", f"must be one of {', '.join(JobState)}")
        found, following = await self.jobs.page(
            state=state,
            host=request.query.get("host"),
            cursor=request.query.get("cursor"),
            limit=_number(request, "limit", JOBS_LIMIT, 1, LIST_MAX),
        )
        return web.json_response({"jobs": [job.summary() for job in found], "next": following})

    async def job(self, request: web.Request) -> web.Response:
        return web.json_response(await self._shown(await self._job(request)))

    async def move(self, request: web.Request) -> web.Response:
        wanted = parse(MoveRequest, await _body(request))
        return await self._controlled(await self.controls.move(request.match_info["job_id"], wanted.before))

    async def change(self, request: web.Request) -> web.Response:
        wanted = parse(ChangeRequest, await _body(request))
        job = await self.controls.change_limits(request.match_info["job_id"], wanted.bandwidth_limit)
        begun = any(resource.state is ResourceState.RUNNING for resource in job.resources)
        message = "holds from the next resource on: downloads that run keep theirs" if begun else "holds from now on"
        return await self._controlled(job, message)

    async def delete(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        await self.controls.delete(job_id)
        return web.json_response({"success": True, "job_id": job_id, "message": "deleted"})

    def _control(self, control: Callable[[str], Awaitable[Job]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._controlled(await control(request.match_info["job_id"]))

        return handle

    def _instance_control(self, control: Callable[[str], Awaitable[list[Job]]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            done = await control(request.match_info["instance"])
            shown = [await self._shown(job) for job in done]
            return web.json_response({"success": True, "jobs": shown}, status=202)

        return handle

    async def _controlled(self, job: Job, message: str = "accepted") -> web.Response:
        shown = await self._shown(job)
        location = {"Location": f"/resources/jobs/{job.job_id}"}
        return web.json_response({"success": True, "message": message, **shown}, status=202, headers=location)

    async def _shown(self, job: Job) -> dict[str, Any]:
        return (await self.jobs.with_position(job)).to_dict()

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The history: a JSON page, all of it as NDJSON, or replayed and followed as server-sent events."""
        job = await self._job(request)
        form = _accepted(request.headers.get(hdrs.ACCEPT, "*/*"), ("application/json", NDJSON, SSE))
        after = _number(request, "after", 0, 0, NUMBER_MAX)
        behind = _last_event_id(request, after)
        types = request.query.getall("type", None)
        if form == SSE:
            return await self._follow(request, job, behind, types)
        if form == NDJSON:
            return await self._ndjson(request, job, after, types)
        replay = request.query.get("replay", "full")
        if replay not in ("full", "compact"):
            raise _wrong("replay", "must be full or compact")
        limit = _number(request, "limit", EVENTS_LIMIT, 1, EVENTS_LIMIT_MAX)
        more: dict[str, Any] = {}
        if replay == "compact":
            found, upto = await self.journal.compact(job.job_id, after)
            more = {"skipped": skipped_ranges(found, after, upto)}
        else:
            found = await self.event_store.read(job.job_id, after, limit, types)
        head = json.dumps({"job_id": job.job_id, "state": job.state, "last_sequence": job.last_sequence, **more})
        body = f'{head[:-1]}, "events": [{",".join(event.to_json() for event in found)}]}}'
        return web.Response(text=body, content_type="application/json")

    async def report(self, request: web.Request) -> web.Response:
        """The post-mortem, as JSON or as a page of its own."""
        job = await self._job(request)
        reporter, after = Reporter(), 0
        while page := await self.event_store.read(job.job_id, after, STREAM_PAGE_EVENTS):
            reporter.feed(page)
            after = page[-1].sequence
        report = reporter.report()
        form = _accepted(request.headers.get(hdrs.ACCEPT, "*/*"), ("application/json", "text/html"))
        wanted = request.query.get("format", "html" if form == "text/html" else "json")
        if wanted not in ("html", "json"):
            raise _wrong("format", "must be html or json")
        if wanted == "json":
            return web.json_response(report)
        headers = {"Content-Security-Policy": REPORT_POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=report_page(report), content_type="text/html", charset="utf-8", headers=headers)

    async def failures(self, request: web.Request) -> web.Response:
        """What failed since a time, grouped by cause, host and card."""
        since = request.query.get("since")
        try:
            at = datetime.fromisoformat(since.replace("Z", "+00:00")) if since is not None else EPOCH
        except ValueError:
            raise _wrong("since", "must be a time like 2026-01-31T00:00:00Z") from None
        since_ms = round((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)
        found = await self.jobs.failures(since_ms, _number(request, "limit", FAILURES_LIMIT, 1, LIST_MAX))
        return web.json_response({"failures": found})

    async def resources(self, request: web.Request) -> web.Response:
        cards = await asyncio.to_thread(self.library.all)
        sound = [card.to_dict() for card in cards if isinstance(card, Resource)]
        broken = [card.to_dict() for card in cards if not isinstance(card, Resource)]
        return web.json_response({"resources": sound, "broken": broken})

    async def resource(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        try:
            card = self.library.get(path)
        except InvalidRequest as error:
            raise UnknownResource(error.message) from error
        return web.json_response({**card.to_dict(), "download": card.script})

    async def healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        health = await self.database.check()
        answer = {
            "status": "ready" if health.ready else "not ready",
            "database": {"writable": health.writable, "revision": health.revision, "head": health.head},
            "sqlite_version": health.sqlite_version,
            "detail": health.detail,
        }
        return web.json_response(answer, status=200 if health.ready else 503)

    async def figures(self, request: web.Request) -> web.Response:
        return web.Response(body=await self.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def openapi(self, request: web.Request) -> web.Response:
        # Made when it is first asked for, which takes a while.
        body = await asyncio.to_thread(self.description)
        return web.Response(body=body, content_type="application/json")

    async def _job(self, request: web.Request) -> Job:
        return await self.jobs.get(request.match_info["job_id"])

    async def _ndjson(
        self, request: web.Request, job: Job, after: int, types: Sequence[str] | None
    ) -> web.StreamResponse:
        response = await _streamed(request, NDJSON)
        while True:
            page = await self.event_store.read(job.job_id, after, STREAM_PAGE_EVENTS, types)
            if not page:
                break
            await response.write("".join([event.to_json() + "\n" for event in page]).encode())
            after = page[-1].sequence
        await response.write_eof()
        return response

    async def _follow(
        self, request: web.Request, job: Job, after: int, types: Sequence[str] | None
    ) -> web.StreamResponse:
        if job.is_terminal and after >= job.last_sequence:
            # Told so, an EventSource does not come back.
            return web.Response(status=204)
        response = await _streamed(request, SSE)
        pages = aiter(_with_pauses(self.journal.follow(job.job_id, after), self.stopping))
        async for page in pages:
            await response.write(_sse(page, types) if page else b": keep-alive\n\n")
        await response.write_eof()
        return response


async def _with_pauses(
    pages: AsyncIterator[Sequence[RecordedEvent]], stopping: asyncio.Event
) -> AsyncIterator[Sequence[RecordedEvent]]:
    """The pages, and an empty one whenever nothing came for a while; ends when the service stops."""
    stop = asyncio.create_task(stopping.wait())
    following: asyncio.Task[Sequence[RecordedEvent]] | None = None
    try:
        while not stop.done():
            if following is None:
                following = asyncio.ensure_future(anext(pages))
            await asyncio.wait((following, stop), timeout=SSE_KEEPALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                yield ()
                continue
            page, following = following, None
            try:
                yield page.result()
            except StopAsyncIteration:
                return
    finally:
        for task in (stop, following):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(t for t in (stop, following) if t is not None), return_exceptions=True)


def _sse(events: Sequence[RecordedEvent], types: Sequence[str] | None) -> bytes:
    shown = (event for event in events if types is None or event.type in types)
    return "".join(f"id: {event.sequence}\ndata: {event.to_json()}\n\n" for event in shown).encode()


async def _streamed(request: web.Request, content_type: str) -> web.StreamResponse:
    headers = {"Content-Type": f"{content_type}; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers={**headers, **cors_headers(request)})
    await response.prepare(request)
    return response


async def _body(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise UnsupportedMediaType("send the body as Content-Type: application/json")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, request.content_length or 0)
    return await request.read()


def _entry(resource: Resource) -> dict[str, Any]:
    return {
        "resource": resource.path,
        "title": resource.title,
        "dependencies": list(resource.dependencies),
        "size": resource.size_bytes,
    }


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 17 and least <= int(text) <= most):
        raise _wrong(name, f"must be an integer from {least} to {most}")
    return int(text)


def _last_event_id(request: web.Request, after: int) -> int:
    text = request.headers.get("Last-Event-ID")
    if text is None or text == "":
        return after
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise _wrong("Last-Event-ID", "must be the id of an event, an integer")
    return int(text)


def _accepted(header: str, offered: Sequence[str]) -> str:
    """The offered type that the header likes best; the first offered one wins a tie, and when none fits."""
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weights[name.lower()] = float(quality)
        except ValueError:
            continue

    def weight(offer: str) -> float:
        return weights.get(offer, weights.get(offer.partition("/")[0] + "/*", weights.get("*/*", 0.0)))

    return max(offered, key=weight)


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", [FieldError(field, message)])
