"""From a declaration to a route: read the request by it, call its handler, and send the answer as it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.errors import UnsupportedMediaType
from service.web.endpoint import JSON, Endpoint
from service.web.endpoints import ENDPOINTS
from service.web.guard import BODY_BYTES_MAX
from service.web.requests import parse
from service.web.services import Services
from service.web.streams import Stream


def add_routes(app: web.Application, services: Services) -> None:
    """One route for each endpoint, in their order: the first that fits a path serves it."""
    for endpoint in ENDPOINTS:
        respond = _responder(endpoint, services)
        if endpoint.method == "get":
            app.router.add_get(endpoint.route, respond)
        else:
            app.router.add_route(endpoint.method, endpoint.route, respond)


def _responder(endpoint: Endpoint, services: Services) -> Handler:
    offered = endpoint.content_types

    async def respond(request: web.Request) -> web.StreamResponse:
        arguments: dict[str, Any] = {}
        if endpoint.body is not None:
            arguments["body"] = parse(endpoint.body, await _body(request))
        for parameter in endpoint.parameters:
            arguments[parameter.argument] = parameter.value(request)
        if len(offered) > 1:
            arguments["content_type"] = preferred(request.headers.get(hdrs.ACCEPT, "*/*"), offered)
        answer = await endpoint.handler(services, **arguments)
        if isinstance(answer, Stream):
            return await answer.send(request)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(answer, status=endpoint.status, headers=_headers(endpoint, answer))

    return respond


def _headers(endpoint: Endpoint, answer: Mapping[str, Any]) -> dict[str, str]:
    headers = {} if endpoint.version is None else {"ETag": f'"{answer[endpoint.version]}"'}
    if endpoint.location is not None:
        filled = re.sub(r"\{(\w+)\}", lambda part: quote(str(answer[part[1]])), endpoint.location)
        headers["Location"] = filled
    return headers


async def _body(request: web.Request) -> bytes:
    if request.content_type != JSON:
        raise UnsupportedMediaType(f"send the body as Content-Type: {JSON}")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, request.content_length or 0)
    return await request.read()


def preferred(header: str, offered: Sequence[str]) -> str:
    """The offered content type that an Accept header prefers; the first one wins a tie, and when none fits."""
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
