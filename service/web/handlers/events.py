"""A job's history in three forms: a JSON page, all of it as NDJSON, or replayed and followed as server-sent events.

Events are stored as JSON and sent as they are stored: nothing is decoded on the way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from service.events.job import Job
from service.events.recorded_event import RecordedEvent, skipped_ranges
from service.web.services import Services
from service.web.streams import Stream

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
STREAM_PAGE_EVENTS = 2_000
SSE_KEEPALIVE_SECONDS = 15.0


async def read_events(
    services: Services,
    *,
    job_id: str,
    after: int,
    limit: int,
    types: list[str] | None,
    replay: str,
    last_event_id: int | None,
    content_type: str,
) -> web.Response | Stream:
    job = await services.jobs.get(job_id)
    if content_type == SSE:
        seen = after if last_event_id is None else last_event_id
        if job.is_terminal and seen >= job.last_sequence:
            # 204 tells an EventSource not to reconnect.
            return web.Response(status=204)
        return Stream(content_type=SSE, chunks=_followed(services, job_id, seen, types))
    if content_type == NDJSON:
        return Stream(content_type=NDJSON, chunks=_lines(services, job_id, after, types))
    if replay == "compact":
        found, upto = await services.journal.compact(job_id, after)
        return _page(job, found, skipped=skipped_ranges(found, after, upto))
    return _page(job, await services.event_store.read(job_id, after, limit, types))


def _page(job: Job, events: Sequence[RecordedEvent], **more: Any) -> web.Response:
    """An EventPage, put together from the stored texts."""
    head = json.dumps({"job_id": job.job_id, "state": job.state, "last_sequence": job.last_sequence, **more})
    body = f'{head[:-1]}, "events": [{",".join(event.to_json() for event in events)}]}}'
    return web.Response(text=body, content_type="application/json")


async def _lines(services: Services, job_id: str, after: int, types: Sequence[str] | None) -> AsyncGenerator[bytes]:
    while page := await services.event_store.read(job_id, after, STREAM_PAGE_EVENTS, types):
        yield "".join([event.to_json() + "\n" for event in page]).encode()
        after = page[-1].sequence


async def _followed(services: Services, job_id: str, after: int, types: Sequence[str] | None) -> AsyncGenerator[bytes]:
    async with aclosing(_with_pauses(services.journal.follow(job_id, after), services.stopping)) as pages:
        async for page in pages:
            yield _sse(page, types) if page else b": keep-alive\n\n"


async def _with_pauses(
    pages: AsyncIterator[Sequence[RecordedEvent]], stopping: asyncio.Event
) -> AsyncGenerator[Sequence[RecordedEvent]]:
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
