"""Clients without a token, clients from foreign origins, and clients that send garbage."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from service.app import Service
from service.web.engine.incoming import MESSAGE_BYTES_MAX
from service.web.rooms import SUBSCRIPTIONS_MAX
from tests.kit.ports import free_port
from tests.kit.running import running, write_card
from tests.kit.service import NAMESPACE, connect

TOKEN = "a-long-token-9f2c"
ORIGIN = "https://page.example"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Service]:
    write_card(tmp_path, "a.md")
    settings = {"api_token": TOKEN, "cors_origins": (ORIGIN,), "allowed_hosts": ("gpu.example",)}
    async with running(tmp_path, private_targets=True, **settings) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def body(**changes: Any) -> dict[str, Any]:
    return {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": ["a.md"], **changes}


async def install(service: Service, token: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{service.url}/resources/install"
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body()) as response:
        assert response.status == 202
        return str((await response.json())["job_id"])


@asynccontextmanager
async def websocket(service: Service, **headers: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
        assert (await socket.receive_str()).startswith("0")
        yield socket


async def heard(socket: aiohttp.ClientWebSocketResponse, prefix: str) -> list[str]:
    """The frames up to the first one with this prefix."""
    frames: list[str] = []
    async with asyncio.timeout(60):
        while not (frames and frames[-1].startswith(prefix)):
            frames.append(await socket.receive_str())
    return frames


async def received(socket: aiohttp.ClientWebSocketResponse, seconds: float = 0.3) -> list[str]:
    """The frames within this time, or until the other side closes the connection."""
    frames: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            async for message in socket:
                frames.append(message.data)
    except TimeoutError:
        return frames
    return frames


# --- without a token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "joining",
    [
        "",
        f"40{NAMESPACE},",
        f'40{NAMESPACE},{{"token":"wrong"}}',
        f'40{NAMESPACE},{{"token":["{TOKEN}"]}}',
        f'40{NAMESPACE},"{TOKEN}"',
        f'40{NAMESPACE},["{TOKEN}"]',
        f'40{NAMESPACE},{{"token":"\\ud800"}}',
        f'42{NAMESPACE},["connect",{{}},{{"token":"{TOKEN}"}}]',
        "40",
        f'40,{{"token":"{TOKEN}"}}',
    ],
)
async def test_a_client_without_the_token_receives_nothing(guarded: Service, joining: str) -> None:
    job_id = await install(guarded, TOKEN)
    async with websocket(guarded) as socket:
        if joining:
            await socket.send_str(joining)
        await socket.send_str(f'42{NAMESPACE},1["subscribe_install",{{"job_id":"{job_id}"}}]')
        frames = await received(socket)
    assert not [frame for frame in frames if frame.startswith(("42", "43", f"40{NAMESPACE}"))], frames
    assert job_id not in "".join(map(str, frames))


async def test_the_token_opens_the_same_door(guarded: Service) -> None:
    job_id = await install(guarded, TOKEN)
    async with websocket(guarded) as socket:
        await socket.send_str(f'40{NAMESPACE},{{"token":"{TOKEN}"}}')
        await socket.send_str(f'42{NAMESPACE},1["subscribe_install",{{"job_id":"{job_id}"}}]')
        frames = await heard(socket, "43")
    assert frames[0].startswith(f"40{NAMESPACE}")
    assert frames[1].startswith(f"43{NAMESPACE},1")


async def test_every_path_requires_the_token_and_none_shows_it(guarded: Service, http: aiohttp.ClientSession) -> None:
    job_id = await install(guarded, TOKEN)
    paths = ["/resources", "/resources/a.md", "/resources/jobs", f"/resources/jobs/{job_id}", "/nowhere"]
    for path in [*paths, f"/resources/jobs/{job_id}/events", "/healthz/", "/readyz/../resources/jobs"]:
        async with http.get(guarded.url + path, headers={"Accept": "text/event-stream"}) as response:
            assert response.status == 401, path
            assert response.headers["WWW-Authenticate"] == "Bearer"
            text = await response.text()
            assert json.loads(text)["success"] is False
            assert TOKEN not in text
            assert job_id not in text
    async with http.post(f"{guarded.url}/resources/install", json=body()) as response:
        assert response.status == 401


# --- foreign origins ----------------------------------------------------------------------------------------------


async def test_an_allowed_origin_is_allowed_everywhere(guarded: Service, http: aiohttp.ClientSession) -> None:
    job_id = await install(guarded, TOKEN)
    headers = {"Origin": ORIGIN, "Authorization": f"Bearer {TOKEN}"}
    for path in ("/resources/jobs", f"/resources/jobs/{job_id}/events", "/resources/none.md"):
        for accept in ("application/json", "application/x-ndjson"):
            async with http.get(guarded.url + path, headers={**headers, "Accept": accept}) as response:
                assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
                assert response.headers["Vary"] == "Origin"
    # A page must be able to read why it was refused.
    async with http.get(f"{guarded.url}/resources/jobs", headers={"Origin": ORIGIN}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    async with http.post(f"{guarded.url}/resources/install", json=body(), headers=headers) as response:
        assert response.headers["Access-Control-Expose-Headers"] == "ETag, Location"
    async with websocket(guarded, Origin=ORIGIN) as socket:
        await socket.send_str(f'40{NAMESPACE},{{"token":"{TOKEN}"}}')
        assert (await socket.receive_str()).startswith(f"40{NAMESPACE}")


async def test_a_preflight_needs_no_token(guarded: Service, http: aiohttp.ClientSession) -> None:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with http.options(f"{guarded.url}/resources/install", headers=headers) as response:
        assert response.status == 204
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    async with http.options(
        f"{guarded.url}/resources/install", headers={**headers, "Origin": "https://evil.example"}
    ) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "https://page.example.evil"},
        {"Origin": "http://page.example"},
        {"Origin": "https://page.example:8443"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1:5000:5000"},
        {"Host": "evil.example:80@127.0.0.1"},
        {"Host": "gpu.example.evil"},
    ],
)
async def test_a_foreign_origin_gets_neither_http_nor_a_websocket(
    guarded: Service, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    given = {"Authorization": f"Bearer {TOKEN}", **headers}
    async with http.get(f"{guarded.url}/resources/jobs", headers=given) as response:
        assert response.status == 403
        assert (await response.json())["success"] is False
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        async with websocket(guarded, **headers):
            pytest.fail("the service let it in")
    assert raised.value.status == 403


@pytest.mark.parametrize("host", ["gpu.example", "GPU.example:8080", "gpu.example.", "localhost:1", "[::1]:5000"])
async def test_the_names_that_it_answers_to(guarded: Service, http: aiohttp.ClientSession, host: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": host}
    async with http.get(f"{guarded.url}/resources/jobs", headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("settings", [{"api_token": TOKEN}, {"allowed_hosts": ("gpu.example",)}])
@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "localhost"])
async def test_who_is_let_in_beside_this_user_cannot_reach_this_machine(
    tmp_path: Path, http: aiohttp.ClientSession, settings: dict[str, Any], host: str
) -> None:
    """Bound to loopback, a service with a token or a name is asked by others, through a proxy."""
    write_card(tmp_path, "a.md")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with running(tmp_path, connect_timeout=1, **settings) as started:
        url = f"{started.url}/resources/install"
        async with http.post(url, json=body(ssh_host=host), headers=headers) as response:
            answer = await response.json()
        if host == "localhost":
            # A name is looked up when it is connected to.
            job = f"{started.url}/resources/jobs/{answer['job_id']}"
            async with asyncio.timeout(20):
                while (state := await shown(http, job, headers))["state"] != "failed":
                    await asyncio.sleep(0.05)
            answer = {"message": state["error"]}
        assert "private address" in answer["message"]
        assert "INSTALLER_PRIVATE_TARGETS" in answer["message"]


async def shown(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> dict[str, Any]:
    async with http.get(url, headers=headers) as response:
        return dict(await response.json())


# --- garbage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ssh_host": "a..b"}, "ssh_host"),
        ({"ssh_host": "a" * 64}, "ssh_host"),
        ({"ssh_host": ".".join(["a" * 60] * 5)}, "ssh_host"),
        ({"ssh_host": "host\n"}, "ssh_host"),
        ({"ssh_host": "[::1"}, "ssh_host"),
        ({"ssh_host": ":::"}, "ssh_host"),
        ({"ssh_host": "host:22"}, "ssh_host"),
        ({"ssh_host": ""}, "ssh_host"),
        ({"ssh_host": "\ud800"}, "ssh_host"),
        ({"ssh_user": "root\n"}, "ssh_user"),
        ({"ssh_user": ""}, "ssh_user"),
        ({"ui_home": "/\ud800"}, "ui_home"),
        ({"ui_home": "/" + "a" * 5_000}, "ui_home"),
        ({"resources": ["\ud800.md"]}, "resources[0]"),
        ({"resources": ["x" * 100_000 + ".md"]}, "resources[0]"),
        ({"resources": {"0": "a.md"}}, "resources"),
        ({"x" * 100_000: 1}, "x" * 200),
    ],
)
async def test_strange_values_are_refused_in_few_words(
    service: Service, http: aiohttp.ClientSession, changes: dict[str, Any], field: str
) -> None:
    raw = json.dumps(body(**changes)).encode()
    async with http.post(f"{service.url}/resources/install", data=raw, headers=JSON) as response:
        answer = await response.json()
        assert response.status == 400, answer
    assert [error["field"] for error in answer["errors"]] == [field]
    assert len(json.dumps(answer)) < 2_000


@pytest.mark.parametrize("host", ["gpu-1.example.com", "gpu_1", "109.231.106.68", "::1", "[::1]", "example.com."])
async def test_hosts_of_every_usual_form(service: Service, http: aiohttp.ClientSession, host: str) -> None:
    # These hosts exist: the test neither resolves nor contacts them.
    await service._worker.stop()
    async with http.post(f"{service.url}/resources/install", json=body(ssh_host=host)) as response:
        job_id = (await response.json())["job_id"]
    async with http.get(f"{service.url}/resources/jobs?host={host.strip('[]')}") as response:
        assert [job["job_id"] for job in (await response.json())["jobs"]] == [job_id]


async def test_a_doubled_field_is_found_among_many(service: Service, http: aiohttp.ClientSession) -> None:
    many = b",".join(b'"k%d":1' % n for n in range(50_000))
    raw = b"{" + many + b',"k7":2}'
    async with http.post(f"{service.url}/resources/install", data=raw, headers=JSON) as response:
        assert response.status == 400
        assert 'the field "k7" is given twice' in (await response.json())["message"]


async def test_compressed_bodies_are_bounded_too(service: Service, http: aiohttp.ClientSession) -> None:
    url, headers = f"{service.url}/resources/install", {**JSON, "Content-Encoding": "gzip"}
    for raw, status in (
        (gzip.compress(json.dumps(body()).encode()), 202),
        (gzip.compress(b" " * 100_000_000), 413),
        (b"this is not gzip", 400),
    ):
        async with aiohttp.ClientSession() as session, session.post(url, data=raw, headers=headers) as response:
            assert response.status == status
            assert (await response.json())["success"] is (status == 202)


async def test_malformed_http_harms_nobody(service: Service, http: aiohttp.ClientSession) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    for raw in (
        b"\0\1garbage\r\n\r\n",
        b"GET /resources HTTP/1.1\r\n\r\n",
        b"GET /resources HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /resources/install HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] in (b"400", b"415", b"431")
        writer.close()
        # The service closed the connection before it had read everything.
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    async with http.get(f"{service.url}/healthz") as response:
        assert response.status == 200


async def test_a_frame_that_is_too_large_ends_that_client_alone(service: Service) -> None:
    job_id = await install(service)
    async with websocket(service) as other, websocket(service) as socket:
        await other.send_str(f"40{NAMESPACE},")
        await socket.send_str(f"40{NAMESPACE},")
        assert (await socket.receive_str()).startswith("40")
        await socket.send_str(f'42{NAMESPACE},["subscribe_install","{"x" * MESSAGE_BYTES_MAX}"]')
        await received(socket, 60)
        assert socket.closed
        await other.send_str(f'42{NAMESPACE},1["subscribe_install",{{"job_id":"{job_id}"}}]')
        await heard(other, f"43{NAMESPACE},1")


async def test_a_client_has_a_bounded_number_of_subscriptions(service: Service) -> None:
    jobs = await asyncio.gather(*(install(service) for _ in range(SUBSCRIPTIONS_MAX + 1)))
    client = socketio.AsyncClient(reconnection=False)
    await connect(client, service.url, transports=["websocket"])

    async def call(name: str, job_id: str) -> Any:
        return await client.call(name, {"job_id": job_id}, namespace=NAMESPACE)

    for job_id in jobs[:-1]:
        assert (await call("subscribe_install", job_id))["success"] is True
    refused = await call("subscribe_install", jobs[-1])
    assert refused["success"] is False
    assert "unsubscribe_install" in refused["message"]
    assert (await call("subscribe_install", jobs[0]))["success"] is True
    assert (await call("unsubscribe_install", jobs[0]))["success"] is True
    assert (await call("subscribe_install", jobs[-1]))["success"] is True
    await client.disconnect()
