"""Names whose look-up hangs harm nobody else's, and their callers are not waited for."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from service.runner.instance import lookups
from service.runner.instance.lookups import Lookups


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every name that begins with "tarpit" is looked up until the event is set."""
    gone = threading.Event()

    def look_up(host: str, port: int, **_options: Any) -> Any:
        if host.startswith("tarpit"):
            gone.wait(60)
        if host == "nowhere":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield gone
    gone.set()


async def test_a_name_is_looked_up_while_others_hang(hanging: threading.Event) -> None:
    names = Lookups()
    stuck = [asyncio.create_task(names.addresses(f"tarpit{n}", 22)) for n in range(lookups.LOOKUPS_MAX - 1)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await names.addresses("honest", 22) == ["192.0.2.1"]
        with pytest.raises(socket.gaierror):
            await names.addresses("nowhere", 22)
    assert not any(task.done() for task in stuck)
    hanging.set()
    assert await asyncio.gather(*stuck) == [["192.0.2.1"]] * len(stuck)


async def test_a_caller_that_gives_up_leaves_its_place_until_the_thread_ends(
    hanging: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "LOOKUPS_MAX", 1)
    names = Lookups()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await names.addresses("tarpit", 22)
    waiting = asyncio.create_task(names.addresses("honest", 22))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    hanging.set()
    async with asyncio.timeout(30):
        assert await waiting == ["192.0.2.1"]
