"""The service about itself: alive, ready, its figures and the descriptions of its interfaces."""

from __future__ import annotations

import asyncio
import json
from functools import cache

from aiohttp import web

from service.web.answers import Health, Readiness
from service.web.services import Services

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def is_alive(services: Services) -> Health:
    return {"status": "ok"}


async def is_ready(services: Services) -> Readiness | web.Response:
    health = await services.database.check()
    answer: Readiness = {
        "status": "ready" if health.ready else "not ready",
        "database": {
            "engine": health.engine,
            "version": health.engine_version,
            "writable": health.writable,
            "revision": health.revision,
            "head": health.head,
        },
        "sqlite_version": health.engine_version if health.engine == "sqlite" else None,
        "detail": health.detail,
    }
    return answer if health.ready else web.json_response(answer, status=503)


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
