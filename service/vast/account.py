"""Asks Vast.ai's API, by the guarded fetcher, which sends the key to that site alone."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import orjson

from service.errors import FieldError, Forbidden, KeyNeeded, NotFound, OutboundError
from service.outbound import Answer, Outbound
from service.vast.rented import Rented, read_rented

SITE = "Vast.ai"
ANSWER_BYTES_MAX = 8 << 20
PAGES_MAX = 20
INSTANCES_MAX = 1_000
_TOKEN_CHARACTERS_MAX = 500


class VastAccount:
    """``site``: where the API is asked. ``may_stop``: whether instances may be stopped and destroyed."""

    def __init__(self, outbound: Outbound, site: str, *, may_stop: bool) -> None:
        self._outbound = outbound
        self._site = site
        self.may_stop = may_stop

    async def instances(self) -> list[Rented]:
        """Those of the key's account, newest first. Raises KeyNeeded, AddressRefused, OutboundError."""
        found: dict[int, Rented] = {}
        token = ""
        for _ in range(PAGES_MAX):
            page = await self._ask(f"/api/v1/instances/{f'?after_token={quote(token)}' if token else ''}")
            listed = page.get("instances")
            for each in (listed if isinstance(listed, list) else [])[:INSTANCES_MAX]:
                rented = read_rented(each) if isinstance(each, dict) else None
                if rented is not None:
                    found[rented.id] = rented
            following = page.get("next_token")
            if not isinstance(following, str) or not 0 < len(following) <= _TOKEN_CHARACTERS_MAX or following == token:
                break
            token = following
        return sorted(found.values(), key=lambda rented: -rented.id)[:INSTANCES_MAX]

    async def prices(self) -> dict[tuple[str, int], float]:
        """What an hour of each instance costs, in dollars, by each of its addresses; none without a key. Raises
        KeyNeeded, AddressRefused, OutboundError."""
        if not self._outbound.has_token(self._site):
            return {}
        return {
            address: rented.dollars_per_hour
            for rented in await self.instances()
            if rented.dollars_per_hour is not None
            for address in rented.addresses
        }

    async def stop(self, number: int) -> None:
        """Its data stays, and costs less. Raises Forbidden, NotFound, KeyNeeded, OutboundError."""
        await self._change("PUT", number, {"state": "stopped"})

    async def destroy(self, number: int) -> None:
        """With all of its data. Raises Forbidden, NotFound, KeyNeeded, OutboundError."""
        await self._change("DELETE", number, {})

    async def _change(self, method: str, number: int, body: dict[str, Any]) -> None:
        if not self.may_stop:
            raise Forbidden(
                "this service does not stop or destroy instances: set INSTALLER_VAST_ALLOW_STOP=true where it runs, "
                f"or do it at {SITE}"
            )
        self._check_key()
        answer = await self._outbound.fetch(
            f"{self._site}/api/v0/instances/{number}/",
            method=method,
            bytes_max=ANSWER_BYTES_MAX,
            headers={"Accept": "application/json", "Content-Type": "application/json"},
            body=orjson.dumps(body),
            follows=False,
        )
        if answer.status == 404:
            raise NotFound(f"{SITE} has no instance {number} for this key")
        said = await self._read(answer)
        if said.get("success") is False:
            raise OutboundError(f"{SITE} did not do it: {_reason(said)}")

    async def _ask(self, path: str) -> dict[str, Any]:
        self._check_key()
        headers = {"Accept": "application/json"}
        answer = await self._outbound.fetch(self._site + path, bytes_max=ANSWER_BYTES_MAX, headers=headers)
        return await self._read(answer)

    def _check_key(self) -> None:
        if not self._outbound.has_token(self._site):
            raise _key_needed(f"{SITE} shows your instances only with a key")

    async def _read(self, answer: Answer) -> dict[str, Any]:
        if answer.status in (401, 403):
            raise _key_needed(f"{SITE} refuses the key that the service has, or it may not do this")
        if answer.status == 429:
            raise OutboundError(f"{SITE} asks for fewer requests: try again in a minute")
        if answer.status != 200:
            raise OutboundError(f"{SITE} answered with the status {answer.status}: try again later")
        try:
            # In a thread: megabytes of JSON take a while.
            found = await asyncio.to_thread(orjson.loads, answer.body)
        except ValueError as error:
            raise OutboundError(f"{SITE} answered with something else than JSON: try again later") from error
        if not isinstance(found, dict):
            raise OutboundError(f"{SITE} answered with something else than was asked for: try again later")
        return found


def _key_needed(what: str) -> KeyNeeded:
    message = (
        f"{what}: add it on the page Keys or with `resource-installer keys set vast`, or set INSTALLER_VAST_API_KEY"
    )
    return KeyNeeded(message, [FieldError("vast", message)])


def _reason(said: dict[str, Any]) -> str:
    reason = said.get("msg")
    text = reason if isinstance(reason, str) else "it does not say why"
    return "".join(mark if mark.isprintable() else "?" for mark in text[:200])
