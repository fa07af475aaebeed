"""What the sites' APIs have in common: JSON within bounds, and their refusals in words."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from service.errors import FieldError, KeyNeeded, OutboundError, UnknownLink
from service.outbound import Answer, Outbound

JSON_BYTES_MAX = 8 << 20


async def ask_json(outbound: Outbound, url: str, *, site: str, missing: str, key: str) -> dict[str, Any]:
    """A JSON object. ``missing``: what to say of 404. ``key``: what to say where the site wants a key. Raises
    UnknownLink, KeyNeeded, AddressRefused, OutboundError."""
    answer = await outbound.fetch(url, bytes_max=JSON_BYTES_MAX, headers={"Accept": "application/json"})
    refuse(answer, site=site, missing=missing, key=key)
    try:
        # In a thread: megabytes of JSON take a while.
        found = await asyncio.to_thread(orjson.loads, answer.body)
    except ValueError as error:
        raise OutboundError(f"{site} answered with something else than JSON: try again later") from error
    if not isinstance(found, dict):
        raise OutboundError(f"{site} answered with something else than was asked for: try again later")
    return found


def refuse(answer: Answer, *, site: str, missing: str, key: str) -> None:
    """Raises what a refusal means; nothing for an answer."""
    if answer.status in (404, 410):
        raise UnknownLink(missing, [FieldError("url", missing)])
    if answer.status in (401, 403):
        raise KeyNeeded(key, [FieldError("url", key)])
    if answer.status == 429:
        raise OutboundError(f"{site} asks for fewer requests: try again in a minute")
    if not 200 <= answer.status < 300:
        raise OutboundError(f"{site} answered with the status {answer.status}: try again later")
