"""A job's history in three forms: a JSON page, all of it as NDJSON, or replayed and followed as server-sent events.

Events are stored as JSON and sent as they are stored: nothing is decoded on the way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from aiohttp import web

from service.events.job import Job
from service.events.recorded_event import RecordedEvent, skipped_ranges
from service.store.follower import Follower
from service.store.pages import PAGE_EVENTS
from service.web.services import Services
from service.web.streams import Stream

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
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
        follower = services.journal.follow(job_id, seen)
        return Stream(content_type=SSE, chunks=_followed(follower, types), is_subscription=True, end=follower.end)
    if content_type == NDJSON:
        return Stream(content_type=NDJSON, chunks=_lines(services, job_id, after, types))
    if replay == "compact":
        found, upto = await services.journal.compact(job_id, after)
        return _page(job, [_texts(found)], skipped=skipped_ranges(found, after, upto))
    return _page(job, [_texts(found) async for found in _pages(services, job_id, after, limit, types)])


def _page(job: Job, texts: Sequence[str], **more: Any) -> web.Response:
    """An EventPage, put together from the stored texts."""
    head = json.dumps({"job_id": job.job_id, "state": job.state, "last_sequence": job.last_sequence, **more})
    return web.Response(text=f'{head[:-1]}, "events": [{",".join(texts)}]}}', content_type="application/json")


def _texts(events: Sequence[RecordedEvent]) -> str:
    return ",".join([event.to_json() for event in events])


async def _lines(services: Services, job_id: str, after: int, types: Sequence[str] | None) -> AsyncGenerator[bytes]:
    async for page in _pages(services, job_id, after, None, types):
        yield "".join([event.to_json() + "\n" for event in page]).encode()


async def _pages(
    services: Services, job_id: str, after: int, limit: int | None, types: Sequence[str] | None
) -> AsyncGenerator[list[RecordedEvent]]:
    """At most ``limit`` events, None: all, read page by page: what makes a text of them has the loop for no longer
    than a page takes."""
    left = sys.maxsize if limit is None else limit
    while left and (page := await services.event_store.read(job_id, after, min(left, PAGE_EVENTS), types)):
        yield page
        after, left = page[-1].sequence, left - len(page)


async def _followed(follower: Follower, types: Sequence[str] | None) -> AsyncGenerator[bytes]:
    try:
        while (page := await follower.next(SSE_KEEPALIVE_SECONDS)) is not None:
            if not page:
                yield b": keep-alive\n\n"
            elif types is None:
                yield page.form("sse", _sse)
            else:
                yield _sse([event for event in page if event.type in types])
    finally:
        follower.close()


def _sse(events: Sequence[RecordedEvent]) -> bytes:
    return "".join([f"id: {event.sequence}\ndata: {event.to_json()}\n\n" for event in events]).encode()
