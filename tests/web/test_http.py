"""The HTTP API of a real service: what it refuses and how, and the history in its three forms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from tests.kit.ports import free_port
from tests.kit.running import running, write_card
from tests.kit.sshd import USER, Sshd

GOOD = {"ssh_host": "127.0.0.1", "ssh_port": 22, "ui_home": "/workspace/ComfyUI", "resources": ["loras/a.md"]}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write_card(tmp_path, "loras/a.md")
    write_card(tmp_path, "loras/b.md")
    write_card(tmp_path, "loras/cycle_a.md", front="dependencies: [loras/cycle_b.md]\n")
    write_card(tmp_path, "loras/cycle_b.md", front="dependencies: [loras/cycle_a.md]\n")
    write_card(tmp_path, "loras/orphan.md", front="dependencies: [loras/none.md]\n")
    (tmp_path / "resources/loras/broken.md").write_text("no front matter", encoding="utf-8")
    (tmp_path / "resources/leads_out.md").symlink_to("/etc/passwd")
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


CODES = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media",
    429: "too_many",
}


async def refused(response: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    """The body of a refusal, once its shape is checked."""
    body = await response.json()
    assert response.status == status, body
    assert (body["success"], body["code"]) == (False, CODES[status])
    assert isinstance(body["message"], str)
    assert body["message"]
    assert all(set(error) == {"field", "message"} for error in body["errors"])
    return dict(body)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


BAD_BODIES = [
    ({**GOOD, "ssh_port": 0}, "ssh_port", "greater than or equal to 1"),
    ({**GOOD, "ssh_port": 70_000}, "ssh_port", "less than or equal to 65535"),
    ({**GOOD, "ssh_port": "22"}, "ssh_port", "valid integer"),
    ({**GOOD, "ssh_port": True}, "ssh_port", "valid integer"),
    ({**GOOD, "ssh_port": 10**30}, "ssh_port", ""),
    ({**GOOD, "ssh_host": "root@host"}, "ssh_host", "host name or an address"),
    ({**GOOD, "ssh_host": "a b"}, "ssh_host", "host name or an address"),
    ({**GOOD, "ssh_host": "-oProxyCommand=x"}, "ssh_host", "host name or an address"),
    ({**GOOD, "ssh_host": "169.254.169.254"}, "ssh_host", "never a target"),
    ({**GOOD, "ssh_host": "metadata.google.internal"}, "ssh_host", "never a target"),
    ({**GOOD, "ssh_user": "-x"}, "ssh_user", "is not a user name"),
    ({**GOOD, "ui_home": "workspace/ComfyUI"}, "ui_home", "absolute path"),
    ({**GOOD, "ui_home": "/a\0b"}, "ui_home", "NUL"),
    ({**GOOD, "ui_home": 5}, "ui_home", "valid string"),
    ({**GOOD, "host_key_sha256": "abc"}, "host_key_sha256", "fingerprint"),
    ({**GOOD, "resources": []}, "resources", "at least one"),
    ({**GOOD, "resources": ["loras/a.md"] * 10_000}, "resources", "at most 100"),
    ({**GOOD, "resources": "loras/a.md"}, "resources", "valid list"),
    ({**GOOD, "resources": ["loras/a.md", 5]}, "resources[1]", "valid string"),
    ({**GOOD, "resources": ["loras/a.md", "loras/a.md"]}, "resources[1]", "named twice"),
    ({**GOOD, "resources": ["../../etc/passwd"]}, "resources[0]", "must not hold empty parts, . or .."),
    ({**GOOD, "resources": ["/etc/passwd"]}, "resources[0]", "must be relative"),
    ({**GOOD, "resources": ["loras/a.md\0"]}, "resources[0]", "characters that no path"),
    ({**GOOD, "resources": ["loras\\a.md"]}, "resources[0]", "must be relative"),
    ({**GOOD, "resources": ["leads_out.md"]}, "resources[0]", "leads out"),
    ({**GOOD, "resources": ["loras/broken.md"]}, "resources[0]", "has no"),
    ({**GOOD, "resources": ["loras/cycle_a.md"]}, "resources[0]", "in a circle"),
    ({**GOOD, "resources": ["loras/orphan.md"]}, "resources[0]", 'depends on "loras/none.md"'),
    ({**GOOD, "colour": "blue"}, "colour", "unknown field"),
    (without("ssh_host"), "ssh_host", "missing"),
    (without("resources"), "resources", "missing"),
]


@pytest.mark.parametrize(("body", "field", "words"), BAD_BODIES)
async def test_bad_input_is_named(
    service: Service, http: aiohttp.ClientSession, body: dict[str, Any], field: str, words: str
) -> None:
    async with http.post(f"{service.url}/resources/install", json=body) as response:
        answer = await refused(response, 400)
    assert field in [error["field"] for error in answer["errors"]]
    assert words in answer["message"]
    async with http.get(f"{service.url}/resources/jobs") as response:
        assert (await response.json())["jobs"] == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"ssh_port": NaN}', "NaN"),
        (b'{"ssh_port": 1, "ssh_port": 2}', "is given twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"ssh_port": 1' + b"0" * 5_000 + b"}", ""),
    ],
)
async def test_a_body_that_is_not_a_request(
    service: Service, http: aiohttp.ClientSession, raw: bytes, words: str
) -> None:
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{service.url}/resources/install", data=raw, headers=headers) as response:
        assert words in (await refused(response, 400))["message"]


async def test_unknown_things(service: Service, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{service.url}/resources/install", json={**GOOD, "resources": ["loras/x.md"]}) as response:
        message = (await refused(response, 404))["message"]
    assert message == 'unknown resource "loras/x.md": no such card under resources/'
    for path in ("/resources/jobs/nope", "/resources/jobs/nope/events", "/resources/none.md", "/nowhere"):
        async with http.get(service.url + path) as response:
            await refused(response, 404)
    async with http.delete(f"{service.url}/resources/install") as response:
        await refused(response, 405)
    async with http.get(f"{service.url}/resources/..%2f..%2fetc%2fpasswd") as response:
        await refused(response, 404)


async def test_other_media_and_large_bodies(service: Service, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{service.url}/resources/install", data=b"{}") as response:
        await refused(response, 415)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * (1 << 20)

    headers = {"Content-Type": "application/json"}
    for data in (BytesIO(b" " * (2 << 20)), endless()):
        try:
            async with http.post(f"{service.url}/resources/install", data=data, headers=headers) as response:
                await refused(response, 413)
        except aiohttp.ClientConnectionError:
            assert not isinstance(data, BytesIO)  # it hung up on a body that did not end: that is a refusal too


async def test_hosts_and_origins(service: Service, http: aiohttp.ClientSession) -> None:
    for headers, status in (
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1234"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "http://127.0.0.1:8080"}, 403),
        ({"Origin": "http://[::1]:8080"}, 403),
        ({"Origin": "http://localhost:1234", "Host": "localhost:1234"}, 200),
        ({"Origin": "http://localhost", "Host": "localhost:1234"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "nonsense"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
    ):
        for path in ("/resources/jobs", "/socket.io/?EIO=4&transport=polling"):
            async with http.get(service.url + path, headers=headers) as response:
                if status == 403:
                    await refused(response, 403)
                else:
                    assert response.status == 200
    preflight = {"Origin": "http://localhost:8000", "Access-Control-Request-Method": "POST"}
    async with http.options(f"{service.url}/resources/install", headers=preflight) as response:
        message = (await refused(response, 403))["message"]
        assert "INSTALLER_CORS_ORIGINS=http://localhost:8000 " in message
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_no_answer_can_be_framed_kept_or_guessed_and_none_names_versions(
    service: Service, http: aiohttp.ClientSession
) -> None:
    paths = ("/", "/docs", "/resources/jobs", "/readyz", "/metrics", "/nothing", "/openapi.json", "/resources/x.md")
    for path in (*paths, "/socket.io/?EIO=4&transport=polling"):
        async with http.get(service.url + path) as response:
            headers = response.headers
            assert headers["X-Content-Type-Options"] == "nosniff", path
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
            assert headers["Server"] == "resource-installer", path
            assert headers["Cache-Control"] in ("no-store", "no-cache"), path


async def test_a_foreign_page_cannot_send_even_what_needs_no_preflight(
    service: Service, http: aiohttp.ClientSession
) -> None:
    """A form of another site, and a top-level navigation that posts."""
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for headers in (navigation, {**navigation, "Origin": "null"}, {"Origin": "http://localhost:8080"}):
        async with http.post(f"{service.url}/resources/install", data=b"{}", headers=headers) as response:
            await refused(response, 403)


async def test_the_token(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(tmp_path, api_token="a-long-token") as service:
        for header, status in (
            (None, 401),
            ("Bearer wrong-token", 401),
            ("Basic a-long-token", 401),
            ("Bearer a-long-token", 200),
        ):
            headers = {"Authorization": header} if header else {}
            async with http.get(f"{service.url}/resources/jobs", headers=headers) as response:
                if status == 401:
                    await refused(response, 401)
                else:
                    assert response.status == 200
        for path in ("/healthz", "/readyz"):
            async with http.get(service.url + path) as response:
                assert response.status == 200


async def test_ready(service: Service, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{service.url}/readyz") as response:
        body = await response.json()
    assert response.status == 200
    assert body["status"] == "ready"
    assert body["database"]["revision"] == body["database"]["head"]
    assert body["sqlite_version"].startswith("3.")
    assert (body["database"]["engine"], body["database"]["version"]) == ("sqlite", body["sqlite_version"])


async def test_the_library(service: Service, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{service.url}/resources") as response:
        body = await response.json()
    assert "loras/a.md" in [card["path"] for card in body["resources"]]
    assert {card["path"] for card in body["broken"]} == {"loras/broken.md", "leads_out.md"}
    assert all(card["error"] for card in body["broken"])
    async with http.get(f"{service.url}/resources/loras/a.md") as response:
        assert (await response.json())["download"] == "true\n"


async def queue(service: Service, http: aiohttp.ClientSession, **changes: Any) -> str:
    async with http.post(f"{service.url}/resources/install", json={**GOOD, **changes}) as response:
        answer = await response.json()
        assert response.status == 202
        assert answer["message"] == "Installation started"
        assert response.headers["Location"] == f"/resources/jobs/{answer['job_id']}"
    return str(answer["job_id"])


async def test_the_list_of_jobs(service: Service, http: aiohttp.ClientSession) -> None:
    ids = [await queue(service, http, ssh_host=f"192.0.2.{n}", ssh_port=free_port()) for n in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        async with http.get(f"{service.url}/resources/jobs?limit=2{cursor}") as response:
            page = await response.json()
        found += [job["job_id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == ids[::-1]
    async with http.get(f"{service.url}/resources/jobs?host=192.0.2.3") as response:
        assert [job["job_id"] for job in (await response.json())["jobs"]] == [ids[3]]
    async with http.get(f"{service.url}/resources/jobs?state=completed") as response:
        assert (await response.json())["jobs"] == []
    for query in ("state=lost", "limit=0", "limit=501", "limit=x", "cursor=zz"):
        async with http.get(f"{service.url}/resources/jobs?{query}") as response:
            assert (await refused(response, 400))["errors"][0]["field"] == query.split("=")[0]


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """The URL of an ended job on a running service, and its events."""
    folder = tmp_path / "done"
    folder.mkdir()
    sshd = Sshd(folder)
    script = "for i in 1 2 3 4 5; do echo line $i; done"
    write_card(folder, "a.md", script)
    try:
        await sshd.start()
        async with ended_job(folder, sshd) as found:
            yield found
    finally:
        await sshd.close()


@asynccontextmanager
async def ended_job(folder: Path, sshd: Sshd) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    settings = {"ssh_key": sshd.key_path, "ssh_user": USER}
    async with running(folder, **settings) as service, aiohttp.ClientSession() as http:
        job_id = await queue(service, http, ssh_port=sshd.port, resources=["a.md"])
        url = f"{service.url}/resources/jobs/{job_id}"
        accept = {"Accept": "text/event-stream"}
        async with http.get(f"{url}/events", headers=accept) as response:
            text = await response.text()
        blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
        events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
        assert [int(mark.removeprefix("id: ")) for mark, _ in blocks] == [event["sequence"] for event in events]
        yield url, events


async def test_the_history_in_three_forms(
    history: tuple[str, list[dict[str, Any]]], http: aiohttp.ClientSession
) -> None:
    url, events = history
    assert events[-1]["type"] == "job_completed"
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    async with http.get(f"{url}/events") as response:
        page = await response.json()
    assert page["events"] == events
    assert (page["state"], page["last_sequence"]) == ("completed", len(events))
    async with http.get(f"{url}/events?after=3&limit=2") as response:
        assert (await response.json())["events"] == events[3:5]
    async with http.get(f"{url}/events?after={len(events)}") as response:
        assert (await response.json())["events"] == []
    async with http.get(f"{url}/events?type=output&type=job_queued") as response:
        found = (await response.json())["events"]
    assert found == [event for event in events if event["type"] in ("output", "job_queued")]
    async with http.get(f"{url}/events", headers={"Accept": "application/x-ndjson"}) as response:
        assert [json.loads(line) for line in (await response.text()).splitlines()] == events
    for query in ("after=-1", "after=x", "limit=0", "limit=99999"):
        async with http.get(f"{url}/events?{query}") as response:
            assert (await refused(response, 400))["errors"][0]["field"] == query.split("=")[0]


async def test_server_sent_events_continue_after_the_last_one_seen(
    history: tuple[str, list[dict[str, Any]]], http: aiohttp.ClientSession
) -> None:
    url, events = history
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "4"}
    async with http.get(f"{url}/events", headers=headers) as response:
        text = await response.text()
    assert text.startswith("id: 5\n")
    assert text.count("id: ") == len(events) - 4
    async with http.get(f"{url}/events", headers={**headers, "Last-Event-ID": str(len(events))}) as response:
        assert response.status == 204
    async with http.get(f"{url}/events", headers={**headers, "Last-Event-ID": "x"}) as response:
        await refused(response, 400)
