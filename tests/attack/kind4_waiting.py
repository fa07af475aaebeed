"""Kind 4: an instance that lets the key in, and then does not say what it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.attack.arena import Arena
from tests.attack.attack import attack
from tests.kit.service import ServiceProcess, check_stream

FOREVER = "running long after every timeout; two of them filled MAX_CONCURRENT"
ENDS_SECONDS_MAX = 240
EVENTS_MAX = 200


@asynccontextmanager
async def impatient(arena: Arena) -> AsyncIterator[ServiceProcess]:
    """Every limit that can be set is short."""
    limits = {
        "RESOURCE_TIMEOUT": "5",
        "STALL_TIMEOUT": "3",
        "LINK_TIMEOUT": "5",
        "CONNECT_TIMEOUT": "5",
        "KEEPALIVE": "1",
    }
    async with arena.other_service(
        "impatient", settings={f"INSTALLER_{name}": value for name, value in limits.items()}
    ) as service:
        yield service


async def ends(arena: Arena, *, cancel: bool = False, **lies: Any) -> str:
    arena.liar.lies(**lies)
    async with impatient(arena) as service:
        job_id = await service.install(arena.liar.sshd, arena.liar_home, arena.new_card("echo x; sleep 2"))
        if cancel:
            await asyncio.sleep(3)
            await service.post(f"/resources/jobs/{job_id}/cancel", {})
        try:
            job = await service.ended(job_id, ENDS_SECONDS_MAX)
        except TimeoutError as error:
            raise AssertionError(f"it is still running after {ENDS_SECONDS_MAX} s") from error
        history = await service.history(job_id)
        check_stream(history)
        assert len(history) <= EVENTS_MAX, f"{len(history)} events"
        assert job["cause"] is not None
        return f"{job['state']} ({job['cause']}), {len(history)} events"


@attack(4, "an sshd lets the key in and then says nothing", before=FOREVER, is_long=True)
async def silent(arena: Arena) -> str:
    return await ends(arena, mode="silent")


@attack(4, "an instance prints the nonce and nothing more", before=FOREVER, is_long=True)
async def nonce_only(arena: Arena) -> str:
    return await ends(arena, mode="deaf")


@attack(
    4,
    'an instance says "held" at each end of an attempt, again and again',
    before="170,000 events a day, running for ever",
    is_long=True,
)
async def held(arena: Arena) -> str:
    return await ends(arena, err=[(r" (exit|killed|lost|full).*$", " held")])


@attack(4, "an instance never says how an attempt ended, and closes the session", is_long=True)
async def no_end(arena: Arena) -> str:
    return await ends(arena, err=[(r"^@NONCE@.*$", "")])


@attack(4, "the same, and a client cancels", is_long=True)
async def silent_and_cancelled(arena: Arena) -> str:
    return await ends(arena, mode="deaf", cancel=True)
