"""Kind 2: connections, bytes and seconds that a stranger may hold. The service has 1,024 file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.attack.arena import Arena, Stopwatch, honest_install
from tests.attack.attack import attack
from tests.attack.raw_http import answered, status_of
from tests.kit.raw_watcher import RawWatcher
from tests.kit.service import NAMESPACE, ServiceProcess, until

MEGABYTE = 1 << 20
UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
POST = b"POST /resources/install HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
FAT = "".join(f"X-{n}: {'a' * 7_900}\r\n" for n in range(60))
POLL = f"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: 127.0.0.1\r\n{FAT}\r\n".encode()


def resident_bytes(pid: int) -> int:
    """Now, not at the peak."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@asynccontextmanager
async def poor(arena: Arena, **settings: str) -> AsyncIterator[ServiceProcess]:
    """A service with 1,024 file descriptors that has installed once."""
    python = ["prlimit", "--nofile=1024:1024", sys.executable]
    async with arena.other_service("poor", python, settings) as service:
        await honest_install(service, arena.instance, arena.ui_home)
        yield service


@asynccontextmanager
async def held(
    port: int, count: int, *sent: bytes, is_reading: bool = False
) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """So many connections, each of which sent this and no more. One that is refused is left out. ``is_reading``: each
    is closed here when it was closed there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    writers: list[asyncio.StreamWriter] = []
    reading: list[asyncio.Task[None]] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(4_096):
                pass
        writer.close()

    async def one(n: int) -> None:
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                if is_reading:
                    reading.append(asyncio.create_task(read(reader, writer)))
                if sent:
                    writer.write(sent[n % len(sent)])
                    await writer.drain()
        except (OSError, TimeoutError):
            return

    try:
        for begin in range(0, count, 50):
            await asyncio.gather(*(one(n) for n in range(begin, min(begin + 50, count))))
        yield writers
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def works_beside(arena: Arena, service: ServiceProcess) -> str:
    """An install of three resources, and a client that joins in two seconds."""
    watch = Stopwatch()
    cards = [arena.new_card(f"echo {n}") for n in range(3)]
    try:
        async with asyncio.timeout(60):
            job_id = await service.install(arena.instance, arena.ui_home, *cards)
            watcher = RawWatcher(service.url, job_id)
            joining = Stopwatch()
            await watcher.join()
            joined = joining.seconds
            job = await service.ended(job_id)
            await watcher.leave()
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        raise AssertionError(f"nobody else is served: {error!r}") from error
    assert (job["state"], job["installed"]) == ("completed", 3), job["error"]
    return f"3 of 3 installed in {watch.seconds:.1f} s, joined in {joined:.2f} s"


@attack(
    2,
    "1,100 idle connections without a token at 1,024 file descriptors",
    before='a running install failed ("Too many open files: verify_files.sh")',
)
async def idle(arena: Arena) -> str:
    async with poor(arena) as service, held(service.port, 1_100):
        return await works_beside(arena, service)


@attack(
    2,
    "400 half-open upgrades, slow headers and slow bodies: are they given up within two minutes?",
    before="they lived for ever",
    is_long=True,
)
async def slow(arena: Arena) -> str:
    head = b"GET /resources/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
    post = POST + b"Content-Length: 9000\r\n\r\n{"
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{"
    async with (
        poor(arena) as service,
        held(service.port, 400, UPGRADE, head, post, chunked, is_reading=True) as writers,
    ):
        seen = await works_beside(arena, service)
        watch = Stopwatch()
        while watch.seconds < 120 and not all(writer.transport.is_closing() for writer in writers):
            for writer in writers:
                if not writer.transport.is_closing() and arena.chance.random() < 0.1:
                    writer.write(b"x")
            await asyncio.sleep(1)
        left = sum(not writer.transport.is_closing() for writer in writers)
        kinds = [n % 4 for n, writer in enumerate(writers) if not writer.transport.is_closing()]
        assert left == 0, f"{left} are still held: {kinds}"
        return f"{seen}; all were closed after {watch.seconds:.0f} s"


@attack(
    2,
    "1,500 polling sessions without a token, with 60 headers of 8,000 bytes each",
    before="1.5 GB, held over 50 s",
    is_long=True,
)
async def fat(arena: Arena) -> str:
    async with poor(arena) as service:
        before = resident_bytes(service.pid)
        limit = asyncio.Semaphore(20)

        async def one() -> None:
            async with limit:
                with contextlib.suppress(OSError):
                    await answered(service.port, POLL)

        await asyncio.gather(*(one() for _ in range(1_500)))
        grown = resident_bytes(service.pid) - before
        seen = await works_beside(arena, service)
        assert grown <= 150 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"
        return f"{seen}; memory +{grown / MEGABYTE:.0f} MB"


@asynccontextmanager
async def joined(service: ServiceProcess) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = service.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as ws:
        await ws.send_str(f"40{NAMESPACE},")
        async for message in ws:
            if str(message.data).startswith("40"):
                break
        yield ws


async def memory_while(
    service: ServiceProcess, send: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]]
) -> int:
    before = resident_bytes(service.pid)
    async with joined(service) as ws:
        with contextlib.suppress(OSError, aiohttp.ClientError):
            await send(ws)
        await service.get("/healthz")
        return resident_bytes(service.pid) - before


@attack(
    2,
    "one joined client announces 99,999,999 attachments and sends them",
    before="576 MB were kept",
)
async def attachments(arena: Arena) -> str:
    async def send(ws: aiohttp.ClientWebSocketResponse) -> None:
        await ws.send_str(f'5{99_999_999}-{NAMESPACE},["x",{{"_placeholder":true,"num":0}}]'.replace("5", "45", 1))
        for _ in range(2_000):
            await ws.send_bytes(bytes(60_000))

    async with poor(arena) as service:
        grown = await memory_while(service, send)
        assert grown <= 64 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"
        return f"memory +{grown / MEGABYTE:.0f} MB for 120 MB sent"


@attack(
    2,
    "4 MB of frames of 3 bytes, each malformed in another way",
    before="94 MB of log, a traceback each",
)
async def tiny_frames(arena: Arena) -> str:
    async def send(ws: aiohttp.ClientWebSocketResponse) -> None:
        frames = ["42x", "43[", "9aa", "4", "41", "45-", "469", "40,", "42[", "4x]", "2", "5", "6", "44{", "1", "0"]
        for n in range(60_000):
            await ws.send_str(frames[n % len(frames)] + chr(33 + n % 90))
            if n % 500 == 0:
                await asyncio.sleep(0)

    async with poor(arena) as service:
        grown = await memory_while(service, send)
        # One after the other, each on a connection of its own: the service closes after the first that is malformed.
        for n in range(200):
            with contextlib.suppress(OSError, aiohttp.ClientError):
                async with joined(service) as ws:
                    await ws.send_str(f"4{'2x[{'[n % 4]}{n}")
        size = (service.folder / "service.log").stat().st_size
        assert size <= MEGABYTE, f"{size / MEGABYTE:.1f} MB of log"
        assert "Traceback" not in service.log, service.log[service.log.index("Traceback") - 300 :][:2000]
        assert grown <= 64 * MEGABYTE
        return f"{size / 1000:.0f} KB of log, no traceback, memory +{grown / MEGABYTE:.0f} MB"


@attack(
    2,
    "1,000 followers by server-sent events, none of which reads",
    before="927 MB (250 are enough)",
    is_long=True,
)
async def followers(arena: Arena) -> str:
    python = ["prlimit", "--nofile=8192:8192", sys.executable]
    async with arena.other_service("followed", python) as service:
        lines = 'for n in $(seq 3000); do echo "line $n of many, and some more text to make it longer"; done; sleep 100'
        job_id = await service.install(arena.instance, arena.ui_home, arena.new_card(lines))
        while (await service.job(job_id))["last_sequence"] < 2_900:
            await asyncio.sleep(0.1)
        before = resident_bytes(service.pid)
        line = f"GET /resources/jobs/{job_id}/events HTTP/1.1\r\n"
        ask = f"{line}Host: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode()
        async with held(service.port, 1_000, ask) as writers:
            for writer in writers:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
            await honest_install(service, arena.liar.sshd, arena.liar_home)
            grown = resident_bytes(service.pid) - before
        await service.post(f"/resources/jobs/{job_id}/cancel", {})
        await service.ended(job_id)
        assert grown <= 250 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"
        return f"memory +{grown / MEGABYTE:.0f} MB"


@attack(
    2,
    "nobody reads the service's log: the pipe on its standard error is full",
    before="the service froze",
    is_long=True,
    harms_own=True,
)
async def unread_log(arena: Arena) -> str:
    async with poor(arena) as service:
        await service.terminate()
        reader, writer = os.pipe()
        script = f"import os, sys; os.dup2({writer}, 2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        os.set_inheritable(writer, True)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", script, "-m", "service", "serve", "--port", str(service.port)],
                stdout=subprocess.DEVNULL,
                close_fds=False,
                env={**os.environ, **service._settings, "INSTALLER_HOST": "127.0.0.1", "INSTALLER_LOG_LEVEL": "debug"},
            )
            try:
                await until(lambda: is_listening(service.port))
                flood = b"GET /" + b"a" * 150 + b" HTTP/1.1\r\nHost: \xff\r\nContent-Length: x\r\n\r\n"
                async with asyncio.timeout(60):
                    for _ in range(2_000):
                        with contextlib.suppress(ConnectionError):
                            await answered(service.port, flood)
                    assert (
                        status_of(await answered(service.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                        == 200
                    )
            except TimeoutError as error:
                raise AssertionError("the service froze") from error
            finally:
                process.kill()
                process.wait()
        finally:
            os.close(reader)
            os.close(writer)
    return "it goes on, and leaves out what nobody reads"


def is_listening(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@attack(
    2,
    "2,000 guesses of the token",
    before="nothing slowed them down",
    is_long=True,
)
async def guesses(arena: Arena) -> str:
    token = "a-token-of-32-characters-or-more!"
    # A caller from loopback is not slowed down: it is of this machine, or a proxy that says for whom it asks.
    settings = {"INSTALLER_API_TOKEN": token, "INSTALLER_TRUSTED_PROXIES": "127.0.0.1"}
    answered_with: dict[int, int] = {}

    async def ask(http: aiohttp.ClientSession, guess: str, address: str) -> int:
        headers = {"Authorization": f"Bearer {guess}", "X-Forwarded-For": address}
        async with http.get(f"{service.url}/resources", headers=headers) as response:
            return response.status

    async with arena.other_service("guessed", settings=settings) as service, aiohttp.ClientSession() as http:
        watch = Stopwatch()
        for n in range(2_000):
            status = await ask(http, f"guess-{n}", "203.0.113.9")
            answered_with[status] = answered_with.get(status, 0) + 1
        # Ten at once, then one every five seconds.
        assert answered_with.get(401, 0) <= 11 + watch.seconds / 5, f"{answered_with} in {watch.seconds:.1f} s"
        assert await ask(http, token, "203.0.113.10") == 200
    return f"{answered_with} in {watch.seconds:.0f} s; who has the token and another address is let in"


@attack(2, "one client subscribes and leaves 4,000 times: to a job, to none, to what is no job")
async def subscriptions(arena: Arena) -> str:
    job_id = await arena.service.install(arena.instance, arena.ui_home, "other/honest.md")
    await arena.service.ended(job_id)
    before = resident_bytes(arena.service.pid)
    async with joined(arena.service) as ws:
        wanted = [
            f'{{"job_id":"{job_id}"}}',
            '{"job_id":"none"}',
            "5",
            f'{{"job_id":"{job_id}","replay":"compact"}}',
            "[]",
        ]
        for n in range(4_000):
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await ws.send_str(f'42{NAMESPACE},{n % 100}["subscribe_install",{wanted[n % len(wanted)]}]')
                await ws.send_str(f'42{NAMESPACE},["unsubscribe_install",{wanted[n % len(wanted)]}]')
            if n % 100 == 0:
                await asyncio.sleep(0)
    grown = resident_bytes(arena.service.pid) - before
    assert grown <= 100 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"
    return f"8,000 frames, memory +{grown / MEGABYTE:.0f} MB"


@attack(2, "300 installs on one instance, which does not answer, are queued and cancelled")
async def queue(arena: Arena) -> str:
    body = {"ssh_host": "203.0.113.9", "ssh_port": 9, "ui_home": "/ui", "resources": ["other/honest.md"]}
    async with aiohttp.ClientSession() as http:

        async def one() -> str:
            async with http.post(f"{arena.service.url}/resources/install", json=body) as response:
                assert response.status == 202
                return str((await response.json())["job_id"])

        ids: list[str] = []
        for _ in range(10):
            ids += await asyncio.gather(*(one() for _ in range(30)))
        for begin in range(0, len(ids), 30):
            await asyncio.gather(
                *(arena.service.post(f"/resources/jobs/{job_id}/cancel", {}) for job_id in ids[begin : begin + 30])
            )
    states = {(await arena.service.ended(job_id))["state"] for job_id in ids[::30]}
    assert states == {"cancelled"}
    return f"{len(ids)} queued, all cancelled"


@attack(
    2,
    "300 clients leave in the middle of a stream of events, by a reset and by a goodbye",
    before="an error each in the log",
)
async def leavers(arena: Arena) -> str:
    script = "for n in $(seq 200); do echo line $n of some length; sleep 0.01; done"
    job_id = await arena.service.install(arena.liar.sshd, arena.liar_home, arena.new_card(script))
    before = len(arena.service.log)
    for kind in ("text/event-stream", "application/x-ndjson"):
        head = f"GET /resources/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {kind}\r\n\r\n".encode()
        for n in range(150):
            reader, writer = await asyncio.open_connection("127.0.0.1", arena.service.port)
            writer.write(head)
            await reader.read(1 + n)
            if n % 2:
                writer.transport.abort()
            else:
                writer.close()
    await arena.service.ended(job_id)
    log = arena.service.log[before:]
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:2000]
    assert '"error"' not in log, log[log.index('"error"') - 500 :][:2000]
    return "no error in the log"
