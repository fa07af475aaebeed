"""The Socket.IO interface: acknowledgements, order, and clients that send forged or malformed frames."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio
from aiohttp import web

from service.app import Service
from service.errors import StoreUnavailable
from service.events.job import Job
from service.web.connection import Connection
from service.web.engine.session import Session
from service.web.engine.websocket import WebSocket
from tests.kit.ports import free_port
from tests.kit.running import running, write_card
from tests.kit.service import ANSWER_SECONDS_MAX, NAMESPACE, Watcher, connect, until


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as started:
        yield started


async def queue(service: Service) -> str:
    """A job that stays queued, or whose instance does not exist."""
    body = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": ["a.md"]}
    async with aiohttp.ClientSession() as http, http.post(f"{service.url}/resources/install", json=body) as response:
        return str((await response.json())["job_id"])


class Raw:
    """A WebSocket that speaks Engine.IO by hand, and keeps every frame in order."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[str] = []

    async def read(self, until_prefix: str) -> str:
        while True:
            frame = await asyncio.wait_for(self.socket.receive_str(), ANSWER_SECONDS_MAX)
            self.frames.append(frame)
            if frame.startswith(until_prefix):
                return frame


@pytest.fixture
async def raw(service: Service) -> AsyncIterator[Raw]:
    async with aiohttp.ClientSession() as http:
        url = service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        async with http.ws_connect(url) as socket:
            connection = Raw(socket)
            await connection.read("0")
            await socket.send_str(f"40{NAMESPACE},")
            await connection.read("40")
            yield connection


async def test_acknowledgement_then_subscribed_then_history(service: Service, raw: Raw) -> None:
    job_id = await queue(service)
    await raw.socket.send_str(f'42{NAMESPACE},7["subscribe_install",{{"job_id":"{job_id}"}}]')
    raw.frames.clear()
    await raw.read(f'42{NAMESPACE},["resource_install_status"')
    acknowledged, subscribed, first = raw.frames[:3]
    assert acknowledged.startswith(f"43{NAMESPACE},7[")
    answer = json.loads(acknowledged.partition(",7")[2])[0]
    assert (answer["success"], answer["job_id"]) == (True, job_id)
    assert set(answer) == {"success", "job_id", "last_sequence", "state"}
    assert json.loads(subscribed.partition(",")[2])[0] == "subscribed"
    assert json.loads(first.partition(",")[2])[1]["sequence"] == 1


FORGED = [
    '42/resources,["connect",{"aiohttp.request":1},{"token":"x"}]',
    '42/resources,["connect"]',
    '42/resources,["disconnect","client"]',
    '42/resources,["disconnect"]',
    '42/resources,["subscribe_install"]',
    '42/resources,["subscribe_install",5,6,7]',
    '42/resources,["subscribe_install",{"job_id":{"$ne":1}}]',
    '42/resources,["unsubscribe_install",[]]',
    '42/resources,["no_such_event",{}]',
    "42/resources,{}",
    "42/resources,[]",
    "42/resources,[[]]",
    "42/resources,[5]",
    "42/nowhere,[]",
    "43/resources,5[]",
    "45-1/resources,[]",
    "49",
    "4",
    "9x",
    "42/resources,[",
    "4" + "x" * 1_000,
]


@pytest.mark.parametrize("frame", FORGED)
async def test_forged_and_malformed_frames_do_nothing(service: Service, frame: str) -> None:
    job_id = await queue(service)
    bystander = Watcher(service.url, job_id)
    await bystander.join()
    async with aiohttp.ClientSession() as http:
        url = service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        async with http.ws_connect(url) as socket:
            connection = Raw(socket)
            await connection.read("0")
            await socket.send_str("40/resources,")
            await connection.read("40")
            await socket.send_str(f'42/resources,1["subscribe_install",{{"job_id":"{job_id}"}}]')
            await connection.read("43")
            await socket.send_str(frame)
            await asyncio.sleep(0.05)
    again = Watcher(service.url, job_id)
    assert (await again.join())["success"] is True
    await until(lambda: 1 in again.sequences and 1 in bystander.sequences)
    await again.leave()
    await bystander.leave()


async def test_a_forged_disconnect_leaves_the_subscription(service: Service, raw: Raw) -> None:
    job_id = await queue(service)
    await raw.socket.send_str(f'42{NAMESPACE},["subscribe_install",{{"job_id":"{job_id}"}}]')
    await raw.read(f'42{NAMESPACE},["resource_install_status"')
    await raw.socket.send_str(f'42{NAMESPACE},["disconnect","x"]')
    await raw.socket.send_str(f'42{NAMESPACE},8["unsubscribe_install",{{"job_id":"{job_id}"}}]')
    answer = await raw.read(f"43{NAMESPACE},8")
    assert json.loads(answer.partition(",8")[2]) == [{"success": True, "job_id": job_id}]


async def test_a_subscription_that_is_refused_says_why(service: Service) -> None:
    job_id = await queue(service)
    client = socketio.AsyncClient(reconnection=False, request_timeout=ANSWER_SECONDS_MAX)
    errors: list[dict[str, Any]] = []
    client.on("resource_install_error", errors.append, namespace=NAMESPACE)
    await connect(client, service.url)

    async def subscribe(**wanted: Any) -> Any:
        return await client.call("subscribe_install", wanted, namespace=NAMESPACE)

    answer = await subscribe(job_id="nope")
    message = 'unknown job "nope": no such job in the log'
    assert answer == {"success": False, "message": message, "code": "not_found"}
    await until(lambda: errors)
    assert errors == [{"job_id": "nope", "error": message, "cause": "unknown_job", "code": "not_found"}]
    assert "but the job has" in (await subscribe(job_id=job_id, after=1_000))["message"]
    for after in (-1, "3", 1.5, True, 2**60):
        answer = await subscribe(job_id=job_id, after=after)
        assert "integer, 0 or more" in answer["message"]
        assert (answer["success"], answer["code"]) == (False, "invalid")
    answer = await client.call("unsubscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
    assert (answer["success"], answer["code"]) == (False, "not_found")
    await client.disconnect()


async def test_a_store_that_cannot_answer_now_says_when_to_ask_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await queue(service)
    client = socketio.AsyncClient(reconnection=False, request_timeout=ANSWER_SECONDS_MAX)
    await connect(client, service.url)

    async def no_disk(_job_id: str, _after: int) -> Job:
        raise StoreUnavailable("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(service._journal, "check_after", no_disk)
        answer = await client.call("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
    assert answer == {
        "success": False,
        "message": "the service cannot do this now, try again: database or disk is full",
        "code": "unavailable",
        "retry_after_seconds": 5,
    }
    assert (await client.call("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE))["success"] is True
    await client.disconnect()


async def test_subscribing_again_replaces(service: Service) -> None:
    job_id = await queue(service)
    watcher = Watcher(service.url, job_id)
    await watcher.join()
    await until(lambda: watcher.sequences[:1] == [1])
    assert watcher._client is not None
    last = (await watcher._client.call("subscribe_install", {"job_id": job_id, "after": 1}, namespace=NAMESPACE))[
        "last_sequence"
    ]
    await until(lambda: watcher.sequences[-1] >= last and len(watcher.subscribed) == 2)
    assert watcher.sequences.count(1) == 1
    await watcher.leave()


async def test_the_token(tmp_path: Path) -> None:
    async with running(tmp_path, api_token="a-long-token") as service:
        for auth, accepted in ((None, False), ({"token": "wrong-token"}, False), ({"token": "a-long-token"}, True)):
            client = socketio.AsyncClient(reconnection=False, request_timeout=ANSWER_SECONDS_MAX)
            if accepted:
                await connect(client, service.url, auth=auth)
                assert client.connected
                await client.disconnect()
            else:
                refusals: list[dict[str, Any]] = []
                client.on("connect_error", refusals.append, namespace=NAMESPACE)
                with pytest.raises(socketio.exceptions.ConnectionError):
                    await connect(client, service.url, auth=auth)
                assert [refusal["data"]["code"] for refusal in refusals] == ["unauthorized"]
                await client.disconnect()


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_client_that_goes_leaves_no_circle(service: Service, is_cut: bool) -> None:
    """What only a full collection could free would stay for good once that leaves old objects out (garbage.py)."""
    watcher = Watcher(service.url, await queue(service))
    await watcher.join()
    kinds = (Connection, Session, WebSocket, web.Request)
    gc.collect()
    assert any(isinstance(one, WebSocket) for one in gc.get_objects())
    gc.disable()
    try:
        await (watcher.cut() if is_cut else watcher.leave())
        await until(lambda: not service._connections._open and not service._sockets._transport._sessions)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [one for one in gc.garbage if isinstance(one, kinds)] == []
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
