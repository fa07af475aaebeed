"""The service about itself: alive, ready, its figures and the descriptions of its interfaces."""

from __future__ import annotations

import asyncio
import json
from functools import cache

from aiohttp import web

from service.errors import StoreError
from service.store.database import DatabaseHealth
from service.store.revisions import newest_revision
from service.web.answers import Health, Readiness
from service.web.services import Services

ANSWER_SECONDS_MAX = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def is_alive(services: Services) -> Health:
    return {"status": "ok"}


async def is_ready(services: Services) -> Readiness | web.Response:
    cluster = services.cluster
    health = await _health(services)
    is_ready = health.ready and cluster.membership.may_act
    seconds_left = cluster.membership.seconds_left
    news = cluster.news
    answer: Readiness = {
        "status": "ready" if is_ready else "not ready",
        "database": {
            "engine": health.engine,
            "version": health.engine_version,
            "writable": health.writable,
            "revision": health.revision,
            "head": health.head,
            "synchronous_standby": health.synchronous_standby,
        },
        "replica": {
            "id": cluster.membership.replica_id,
            "lease_left_seconds": round(seconds_left, 3) if cluster.is_shared else None,
            "is_listening": news.is_listening if news is not None else None,
            "lag_seconds": round(news.lag_seconds, 3) if news is not None else None,
        },
        "library": {
            "sha256": cluster.library_sha256,
            "same": await _is_same_library(services) if health.writable else None,
        },
        "sqlite_version": health.engine_version if health.engine == "sqlite" else None,
        "detail": health.detail,
    }
    return answer if is_ready else web.json_response(answer, status=503)


async def _health(services: Services) -> DatabaseHealth:
    """Of the database. Whoever asks gets an answer also when the database gives none."""
    membership = services.cluster.membership
    if not membership.may_act:
        return _unhealthy("the lease of this replica has ended, and cannot be renewed: the database does not answer")
    checking = asyncio.create_task(services.database.check())
    checking.add_done_callback(lambda done: done.cancelled() or done.exception())
    seconds = min(ANSWER_SECONDS_MAX, membership.seconds_left)
    done, _ = await asyncio.wait([checking], timeout=seconds)
    return checking.result() if done else _unhealthy("the database does not answer")


def _unhealthy(detail: str) -> DatabaseHealth:
    return DatabaseHealth(
        writable=False, revision=None, head=newest_revision(), engine="", engine_version="", detail=detail
    )


async def _is_same_library(services: Services) -> bool | None:
    if not services.cluster.is_shared:
        return True
    try:
        return len({replica.library_sha256 for replica in await services.cluster.membership.all()}) <= 1
    except StoreError:
        return None


async def metrics(services: Services) -> web.Response:
    return web.Response(body=await services.metrics(), headers={"Content-Type": METRICS_TYPE})


async def describe(services: Services) -> web.Response:
    return _json(await asyncio.to_thread(_openapi, services.version))


async def describe_events(services: Services) -> web.Response:
    return _json(await asyncio.to_thread(_asyncapi, services.version))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


# Made when somebody first asks, since few do: until then these modules stay out of the service's memory.


@cache
def _openapi(version: str) -> bytes:
    from service.web.openapi import document

    return json.dumps(document(version), ensure_ascii=False).encode()


@cache
def _asyncapi(version: str) -> bytes:
    from service.web.asyncapi import document

    return json.dumps(document(version), ensure_ascii=False).encode()
