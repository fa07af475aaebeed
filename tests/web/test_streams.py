"""Running streams, over HTTP and Socket.IO: a client that comes late, leaves or comes back gets every event once."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from service.app import Service
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from tests.kit.marks import needs_root
from tests.kit.ports import free_port, silent_port
from tests.kit.running import running, write_card
from tests.kit.service import EVENT_NAMES, NAMESPACE, Watcher, connect, until

BATCH = 10


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as started:
        yield started


class Running:
    """A job whose instance never answers: its stream grows only by the events that the test appends."""

    def __init__(self, service: Service) -> None:
        self._journal = service._journal
        self.url = service.url
        self.job_id = ""
        self.last = 0

    async def begin(self) -> Running:
        body = {"ssh_host": "127.0.0.1", "ssh_port": silent_port(), "ui_home": "/ui", "resources": ["a.md"]}
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{self.url}/resources/install", json=body) as response:
                self.job_id = (await response.json())["job_id"]
            while (await self.get(http))["state"] != "running":
                await asyncio.sleep(0.01)
        await self.record(types.ResourceStarted(title="A", card_sha256="0" * 64))
        return self

    async def get(self, http: aiohttp.ClientSession) -> Any:
        async with http.get(f"{self.url}/resources/jobs/{self.job_id}") as response:
            return await response.json()

    async def record(self, *events: types.Event) -> None:
        new = [NewEvent(event=event, resource="a.md", attempt=1) for event in events]
        self.last = (await self._journal.append(self.job_id, new)).last_sequence

    async def bars(self, count: int) -> None:
        for _ in range(count):
            await self.record(*(types.Progress(stage="model", percent=n) for n in range(BATCH)))

    async def finish(self) -> None:
        await self.record(types.ResourceInstalled(exit_code=0, seconds=1.0))
        job = await self._journal.append(
            self.job_id, [NewEvent(event=types.JobCompleted(installed=1, total=1, results=[]))]
        )
        self.last = job.last_sequence

    def all(self, after: int = 0) -> list[int]:
        return list(range(after + 1, self.last + 1))


@pytest.fixture
async def job(service: Service) -> Running:
    return await Running(service).begin()


# --- server-sent events and NDJSON --------------------------------------------------------------------------------


async def sse(job: Running, seen: list[int], *, stop_at: int | None = None, query: str = "") -> list[dict[str, Any]]:
    """Follow after the last seen event, to the end or until ``stop_at`` events are there."""
    events = []
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(seen[-1])} if seen else {})
    url = f"{job.url}/resources/jobs/{job.job_id}/events{query}"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        async for line in response.content:
            name, _, value = line.decode().strip().partition(": ")
            if name == "id":
                seen.append(int(value))
            elif name == "data":
                events.append(json.loads(value))
                assert events[-1]["sequence"] == seen[-1]
            if stop_at is not None and len(seen) >= stop_at:
                return events
    return events


async def test_followers_that_come_and_go_have_every_event_once(job: Running) -> None:
    async def coming_and_going(first_stop: int) -> list[int]:
        seen: list[int] = []
        await sse(job, seen, stop_at=first_stop)
        await asyncio.sleep(0.05)
        await sse(job, seen)
        return seen

    followers = [asyncio.create_task(coming_and_going(5 + 20 * n)) for n in range(5)]
    await job.bars(30)
    await asyncio.sleep(0.1)
    await job.bars(10)
    await job.finish()
    for follower in followers:
        assert await asyncio.wait_for(follower, 60) == job.all()


async def test_a_follower_of_some_types_gets_the_end(job: Running) -> None:
    seen: list[int] = []
    following = asyncio.create_task(sse(job, seen, query="?type=job_completed&type=resource_started"))
    await job.bars(5)
    await job.finish()
    events = await asyncio.wait_for(following, 60)
    assert [event["type"] for event in events] == ["resource_started", "job_completed"]
    assert seen[-1] == job.last


async def test_after_and_last_event_id(job: Running) -> None:
    await job.bars(2)
    await job.finish()
    seen: list[int] = []
    await sse(job, seen, query="?after=4")
    assert seen == job.all(4)
    seen = [6]
    await sse(job, seen, query="?after=4")
    assert seen == [6, *job.all(6)]


async def test_a_running_history_as_ndjson_ends_where_the_log_does(job: Running) -> None:
    await job.bars(250)
    url = f"{job.url}/resources/jobs/{job.job_id}/events"
    async with aiohttp.ClientSession() as http:
        async with http.get(url, headers={"Accept": "application/x-ndjson"}) as response:
            assert response.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
        assert [event["sequence"] for event in lines] == job.all()
        async with http.get(f"{url}?after=2400&type=progress", headers={"Accept": "application/x-ndjson"}) as response:
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
        assert [event["sequence"] for event in lines] == job.all(2400)
        paged: list[int] = []
        while page := await _page(http, f"{url}?after={len(paged)}&limit=700"):
            paged += page
        assert paged == job.all()


async def _page(http: aiohttp.ClientSession, url: str) -> list[int]:
    async with http.get(url) as response:
        page = await response.json()
    assert page["last_sequence"] >= len(page["events"])
    return [event["sequence"] for event in page["events"]]


# --- Socket.IO ----------------------------------------------------------------------------------------------------


async def test_clients_that_come_in_the_middle_have_all_in_order(job: Running) -> None:
    async def come(delay: float) -> list[int]:
        await asyncio.sleep(delay)
        client = socketio.AsyncClient(reconnection=False)
        seen: list[int] = []
        for name in EVENT_NAMES:
            client.on(name, lambda event: seen.append(event["sequence"]), namespace=NAMESPACE)
        await connect(client, job.url, transports=["websocket"])
        assert (await client.call("subscribe_install", {"job_id": job.job_id}, namespace=NAMESPACE))["success"]
        await until(lambda: job.last and seen[-1:] == [job.last] and ended.is_set())
        await client.disconnect()
        return seen

    ended = asyncio.Event()
    clients = [asyncio.create_task(come(n * 0.04)) for n in range(10)]
    for _ in range(50):
        await job.bars(2)
        await asyncio.sleep(0.01)
    await job.finish()
    ended.set()
    for client in clients:
        assert await asyncio.wait_for(client, 60) == job.all()


async def test_a_client_that_polls_has_all_in_order(job: Running) -> None:
    """By hand, to see each answer: the Python client reads at most 16 packets of one, and loses all of a longer one."""
    url = f"{job.url}/socket.io/?EIO=4&transport=polling"
    seen: list[int] = []
    most = 0
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            url += f"&sid={json.loads((await response.text())[1:])['sid']}"
        for packet in (f"40{NAMESPACE},", f'42{NAMESPACE},1["subscribe_install",{{"job_id":"{job.job_id}"}}]'):
            async with http.post(url, data=packet) as response:
                assert response.status == 200

        async def write() -> None:
            await job.bars(60)
            await job.finish()

        writing = asyncio.create_task(write())
        while not writing.done() or seen[-1:] != [job.last]:
            async with http.get(url) as response:
                packets = (await response.text()).split("\x1e")
            most = max(most, len(packets))
            events = [packet for packet in packets if packet.startswith(f'42{NAMESPACE},["resource_install')]
            seen += [json.loads(packet.partition(",")[2])[1]["sequence"] for packet in events]
    assert seen == job.all()
    assert 1 < most <= 16


POLLING_CLIENT = """
import asyncio, json, sys, socketio

async def main(url, job_id, last, transports):
    client = socketio.AsyncClient(reconnection=False)
    seen, done = [], asyncio.Event()

    @client.on("*", namespace="/resources")
    async def event(name, data):
        if "sequence" in data:
            seen.append(data["sequence"])
        if seen[-1:] == [int(last)]:
            done.set()

    await client.connect(url, namespaces=["/resources"], transports=transports.split(","), wait_timeout=60)
    await client.emit("subscribe_install", {"job_id": job_id}, namespace="/resources")
    await asyncio.wait([asyncio.ensure_future(done.wait()), asyncio.ensure_future(client.wait())],
                       timeout=60, return_when=asyncio.FIRST_COMPLETED)
    print(json.dumps(seen))
    await client.disconnect()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("transports", ["polling", "polling,websocket"])
async def test_the_python_client_has_all_in_order(job: Running, transports: str) -> None:
    """In a process of its own: in this one it would share the server's bounds."""
    await job.bars(60)
    await job.finish()
    command = (sys.executable, "-c", POLLING_CLIENT, job.url, job.job_id, str(job.last), transports)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    assert json.loads(printed) == job.all()


async def test_a_client_that_polls_leaves_at_once(job: Running) -> None:
    """Its pending poll is answered: else it would wait in vain for up to 25 seconds."""
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(job.url, namespaces=[NAMESPACE], transports=["polling"])
    begin = time.monotonic()
    await client.disconnect()
    assert time.monotonic() - begin < 5


async def test_many_packets_in_one_post_are_all_read(job: Running) -> None:
    """The JavaScript client posts all that waits in one body."""
    url = f"{job.url}/socket.io/?EIO=4&transport=polling"
    subscribe = f'["subscribe_install",{{"job_id":"{job.job_id}"}}]'
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            url += f"&sid={json.loads((await response.text())[1:])['sid']}"
        packets = [f"40{NAMESPACE},", *(f"42{NAMESPACE},{n}{subscribe}" for n in range(40))]
        async with http.post(url, data="\x1e".join(packets)) as response:
            assert response.status == 200
        answered: set[str] = set()
        async with asyncio.timeout(60):
            while len(answered) < 40:
                async with http.get(url) as response:
                    polled = (await response.text()).split("\x1e")
                answered |= {p.partition(",")[2].partition("[")[0] for p in polled if p.startswith(f"43{NAMESPACE},")}


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_a_client_that_leaves_a_stream_is_not_an_error(
    job: Running, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    await job.bars(500)
    request = f"GET /resources/jobs/{job.job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n"
    for wait_bytes in (0, 1, 100_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(job.url.rpartition(":")[2]))
        writer.write(request.encode())
        await reader.read(wait_bytes)
        writer.transport.abort()
        for _ in range(5):
            await job.bars(1)
            await asyncio.sleep(0.02)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    seen: list[int] = []
    following = asyncio.create_task(sse(job, seen))
    await job.finish()
    await asyncio.wait_for(following, 60)
    assert seen == job.all()


async def test_a_second_subscription_takes_the_place_of_the_first(job: Running) -> None:
    await job.bars(10)
    watcher = Watcher(job.url, job.job_id)
    await watcher.join()
    await until(lambda: watcher.sequences == job.all())
    assert watcher._client is not None
    again = {"job_id": job.job_id, "after": 90}
    assert (await watcher._client.call("subscribe_install", again, namespace=NAMESPACE))["success"] is True
    before = job.last
    await job.bars(5)
    await job.finish()
    await watcher.end()
    await asyncio.sleep(0.1)
    assert watcher.sequences == [*range(1, before + 1), *job.all(90)]
    assert [answer["last_sequence"] for answer in watcher.subscribed] == [before, before]
    await watcher.leave()


async def test_a_client_that_unsubscribes_gets_no_more_events(job: Running) -> None:
    watcher, other = Watcher(job.url, job.job_id), Watcher(job.url, job.job_id)
    await watcher.join()
    await other.join()
    await until(lambda: watcher.sequences == job.all())
    left = job.last
    assert watcher._client is not None
    gone = await watcher._client.call("unsubscribe_install", {"job_id": job.job_id}, namespace=NAMESPACE)
    assert gone == {"success": True, "job_id": job.job_id}
    await job.bars(3)
    await until(lambda: other.sequences == job.all())
    assert watcher.sequences == list(range(1, left + 1))
    answer = await watcher._client.call("subscribe_install", {"job_id": job.job_id, "after": left}, namespace=NAMESPACE)
    assert answer["last_sequence"] == job.last
    await until(lambda: watcher.sequences == job.all())
    await watcher.leave()
    await other.leave()


async def test_one_client_of_two_jobs(service: Service, job: Running) -> None:
    second = await Running(service).begin()
    client = socketio.AsyncClient(reconnection=False)
    seen: dict[str, list[int]] = {job.job_id: [], second.job_id: []}
    for name in EVENT_NAMES:
        client.on(name, lambda event: seen[event["job_id"]].append(event["sequence"]), namespace=NAMESPACE)
    await connect(client, service.url, transports=["websocket"])
    for of in (job, second):
        await client.call("subscribe_install", {"job_id": of.job_id}, namespace=NAMESPACE)
    await asyncio.gather(job.bars(20), second.bars(20))
    await job.finish()
    await second.bars(1)
    await until(lambda: seen == {job.job_id: job.all(), second.job_id: second.all()})
    await client.disconnect()


async def test_after_is_at_most_where_the_log_ends(job: Running) -> None:
    watcher = Watcher(job.url, job.job_id)
    await watcher.join()
    await until(lambda: watcher.sequences == job.all())
    assert watcher._client is not None
    beyond = {"job_id": job.job_id, "after": job.last + 1}
    answer = await watcher._client.call("subscribe_install", beyond, namespace=NAMESPACE)
    assert answer["success"] is False
    assert f"the job has {job.last} events" in answer["message"]
    # The refusal left the subscription as it was.
    await job.bars(1)
    await until(lambda: watcher.sequences == job.all())
    await watcher.leave()


# --- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@needs_root
async def test_a_full_disk_is_answered_as_unavailable_and_passes(tmp_path: Path, small_disk: Path) -> None:
    write_card(tmp_path, "a.md")
    url = f"sqlite+aiosqlite:///{small_disk / 'installer.sqlite3'}"
    body = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/" + "x" * 4_000, "resources": ["a.md"]}
    async with running(tmp_path, database_url=url) as service, aiohttp.ClientSession() as http:

        async def post() -> tuple[int, Any, str | None]:
            async with http.post(f"{service.url}/resources/install", json=body) as response:
                return response.status, await response.json(), response.headers.get("Retry-After")

        filler = small_disk / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False, capture_output=True)
        accepted: list[str] = []
        for _ in range(1_000):
            status, answer, retry_after = await post()
            if status != 202:
                break
            accepted.append(answer["job_id"])
        assert (status, answer["success"], retry_after) == (503, False, "5")
        assert (answer["code"], answer["retry_after_seconds"]) == ("unavailable", 5)
        assert answer["message"].startswith("the service cannot do this now, try again: ")
        async with http.get(f"{service.url}/readyz") as response:
            ready = await response.json()
            assert (response.status, ready["status"], ready["database"]["writable"]) == (503, "not ready", False)
            assert ready["detail"]
        async with http.get(f"{service.url}/healthz") as response:
            assert response.status == 200
        filler.unlink()
        async with http.get(f"{service.url}/readyz") as response:
            assert response.status == 200
        status, answer, _ = await post()
        assert status == 202
        found: Sequence[Any] = (await _jobs(http, service.url))["jobs"]
        assert [job["job_id"] for job in found] == [answer["job_id"], *reversed(accepted)]


async def _jobs(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(f"{url}/resources/jobs?limit=500") as response:
        return await response.json()


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_the_head_of_a_stream_is_all_of_it(service: Service, accept: str) -> None:
    """Whatever came after it would be read as the answer to the next request of that connection."""
    stream = await Running(service).begin()
    path = f"/resources/jobs/{stream.job_id}/events"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
    head = f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n"
    writer.write(f"{head}GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(30):
        answers = (await reader.read()).decode()
    writer.close()
    first, _, second = answers.partition("\r\n\r\n")
    assert first.startswith("HTTP/1.1 200 OK\r\n")
    assert second.startswith("HTTP/1.1 200 OK\r\n")
