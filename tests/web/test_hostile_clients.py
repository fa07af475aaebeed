"""Clients that send what no client of ours sends, that never join, that leave, and that guess: each harms itself alone,
and says nothing in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.web.engine import server
from service.web.engine import websocket as websocket_module
from service.web.engine.incoming import POSTED_PACKETS_MAX
from service.web.engine.session import SESSION, UNREAD_MAX
from service.web.peers import GUESSES_AT_ONCE
from tests.kit.ports import silent_port
from tests.kit.running import running, write_card
from tests.kit.service import NAMESPACE, until

TOKEN = "a-long-token-9f2c"
JOIN = f"40{NAMESPACE},"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Service]:
    """A service with a token, that believes a proxy on this machine."""
    write_card(tmp_path, "a.md")
    async with running(tmp_path, api_token=TOKEN, trusted_proxies=("127.0.0.1",)) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def install(service: Service, http: aiohttp.ClientSession) -> str:
    """A job that runs, and whose instance never answers."""
    body = {"ssh_host": "127.0.0.1", "ssh_port": silent_port(), "ui_home": "/ui", "resources": ["a.md"]}
    async with http.post(f"{service.url}/resources/install", json=body) as response:
        job_id = str((await response.json())["job_id"])
    while (await service._jobs.get(job_id)).state != "running":
        await asyncio.sleep(0.01)
    return job_id


def websocket(service: Service, http: aiohttp.ClientSession) -> Any:
    return http.ws_connect(service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket")


async def joined(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str(JOIN)
    while not (await socket.receive_str()).startswith("40"):
        continue


async def sent_until_closed(socket: aiohttp.ClientWebSocketResponse, frame: str | bytes, count: int) -> None:
    """Send it so many times, or until the service has enough; then wait for the end."""
    with contextlib.suppress(ConnectionError):
        for _ in range(count):
            await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
    while not socket.closed:
        if (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            return


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is worth a person's attention."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "service.app"
    ]


# --- frames ---------------------------------------------------------------------------------------------------------

UNWANTED = [
    f'4599999999-{NAMESPACE},["subscribe_install",{{"_placeholder":true,"num":0}}]',
    f"461-{NAMESPACE},1[]",
    b"x",
    "bAAAA",
    "b!",
    "",
    "4",
    "49x",
    "4xx",
    "xyz",
    "4" + "[" * 10_000,
    f'43{NAMESPACE},5["x"]',
    f"44{NAMESPACE},5",
    f"42{NAMESPACE},{{}}",
    f"42{NAMESPACE},[]",
    '42/nowhere,["x"]',
    '42["x"]',
]


@pytest.mark.parametrize("frame", UNWANTED)
@pytest.mark.parametrize("has_joined", [False, True])
async def test_a_frame_that_no_client_sends_ends_its_client_without_a_word(
    service: Service,
    http: aiohttp.ClientSession,
    frame: str | bytes,
    has_joined: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with websocket(service, http) as socket, websocket(service, http) as other:
        await joined(other)
        if has_joined:
            await joined(socket)
        await sent_until_closed(socket, frame, 3)
        await until(lambda: len(service._sockets._transport._sessions) == 1)
        await other.send_str(f'42{NAMESPACE},7["unsubscribe_install",{{}}]')
        assert (await other.receive_str()).startswith(f"43{NAMESPACE},7")
    assert said(caplog) == []


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"b!", b"x", b"4", b"451-/resources,[]", b"\x1e".join([b"5"] * (POSTED_PACKETS_MAX + 1)), b"d="],
)
async def test_a_posted_body_that_no_client_sends_ends_its_session(
    service: Service, http: aiohttp.ClientSession, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{service.url}/socket.io/?EIO=4&transport=polling"
    async with http.get(url) as response:
        sid = (await response.text()).partition('"sid":"')[2].partition('"')[0]
    for _ in range(2):
        async with http.post(f"{url}&sid={sid}", data=body) as response:
            assert response.status == 400
    assert service._sockets._transport._sessions == {}
    assert [text for text in said(caplog) if "Invalid session" not in text] == []


async def test_who_asks_on_and_on_and_reads_nothing_is_hung_up_on(
    service: Service, http: aiohttp.ClientSession
) -> None:
    async with websocket(service, http) as socket:
        await joined(socket)
        transport = socket._response.connection.transport
        transport.pause_reading()
        asking = f'42{NAMESPACE},1["unsubscribe_install",{{"job_id":"{"x" * 10_000}"}}]'
        sessions = service._sockets._transport._sessions
        (session,) = sessions.values()
        most = 0
        with contextlib.suppress(ConnectionError):
            while sessions:
                await socket.send_str(asking)
                await asyncio.sleep(0)
                most = max(most, session.queued)
        # The answer that is one too many, and Engine.IO's ping if this takes long.
        assert most <= UNREAD_MAX + 2


# --- seconds --------------------------------------------------------------------------------------------------------


async def test_sessions_and_upgrades_that_never_go_on_end(
    service: Service, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "JOIN_SECONDS_MAX", 0.1)
    monkeypatch.setattr(websocket_module, "UPGRADE_SECONDS_MAX", 0.1)
    url = f"{service.url}/socket.io/?EIO=4&transport=polling"
    async with websocket(service, http) as silent, websocket(service, http) as stays:
        await joined(stays)
        async with http.get(url) as response:
            sid = (await response.text()).partition('"sid":"')[2].partition('"')[0]
        upgrade = service.url.replace("http", "ws") + f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
        async with http.ws_connect(upgrade) as half_open:
            assert (await half_open.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        while not silent.closed:
            await silent.receive()
        await until(lambda: len(service._sockets._transport._sessions) == 1)
        await stays.send_str(f'42{NAMESPACE},7["unsubscribe_install",{{}}]')
        assert (await stays.receive_str()).startswith(f"43{NAMESPACE},7")


async def test_sessions_that_have_not_joined_give_way(
    service: Service, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UNJOINED_MAX", 5)
    url = f"{service.url}/socket.io/?EIO=4&transport=polling"
    async with websocket(service, http) as first:
        await joined(first)
        for _ in range(20):
            async with http.get(url) as response:
                assert response.status == 200
        assert len(service._sockets._transport._sessions) == 6
        await first.send_str(f'42{NAMESPACE},7["unsubscribe_install",{{}}]')
        assert (await first.receive_str()).startswith(f"43{NAMESPACE},7")


async def test_a_session_keeps_no_headers(service: Service, http: aiohttp.ClientSession) -> None:
    url = f"{service.url}/socket.io/?EIO=4&transport=polling"
    async with http.get(url, headers={"X-Fat": "x" * 8_000}) as response:
        assert response.status == 200
    (kept,) = service._sockets.server.environ.values()
    assert set(kept) == {SESSION}


# --- those who leave ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_client_that_leaves_a_stream_is_no_error(
    service: Service, http: aiohttp.ClientSession, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await install(service, http)
    caplog.clear()
    url = f"{service.url}/resources/jobs/{job_id}/events"
    for _ in range(5):
        async with aiohttp.ClientSession() as leaving:
            response = await leaving.get(url, headers={"Accept": accept})
            await response.content.readany()
            response.close()
    stream = service._journal._streams.of(job_id)
    # The service notices at once, not at its next keep-alive.
    await until(lambda: not stream.followers, seconds=10)
    assert not stream.recent
    assert said(caplog) == []


# --- guesses --------------------------------------------------------------------------------------------------------


async def test_guesses_of_one_address_are_slowed_down(proxied: Service, http: aiohttp.ClientSession) -> None:
    url = f"{proxied.url}/resources/jobs"

    async def ask(token: str, address: str) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"198.51.100.77, {address}"}
        async with http.get(url, headers=headers) as response:
            await response.read()
            return response

    assert (await ask(TOKEN, "203.0.113.5")).status == 200
    statuses = [(await ask(f"guess-{n}", "203.0.113.5")).status for n in range(GUESSES_AT_ONCE)]
    assert statuses == [401] * GUESSES_AT_ONCE
    refused = await ask(TOKEN, "203.0.113.5")
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) >= 1
    # Others are not slowed down: not another address, and nobody on this machine.
    assert (await ask(TOKEN, "203.0.113.6")).status == 200
    async with http.get(url, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert response.status == 200


async def test_guesses_over_socket_io_are_slowed_down_as_well(proxied: Service, http: aiohttp.ClientSession) -> None:
    url = proxied.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with http.ws_connect(url, headers={"X-Forwarded-For": "203.0.113.5"}) as socket:
        answers = []
        assert (await socket.receive_str()).startswith("0")
        for n in range(GUESSES_AT_ONCE):
            await socket.send_str(f'{JOIN}{{"token":"guess-{n}"}}')
            answers.append(await socket.receive_str())
        assert all('"code":"unauthorized"' in answer for answer in answers)
        await socket.send_str(f'{JOIN}{{"token":"{TOKEN}"}}')
        refused = await socket.receive_str()
        assert '"code":"too_many"' in refused
        assert '"retry_after_seconds"' in refused
