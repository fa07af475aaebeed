"""Instances that let the service in and then do nothing, or the same for ever: each wait has an end and a cause, and
says little on the way. A tool that is silent on a healthy instance is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.runner import time_limit
from service.runner.instance import heartbeat, link, ssh
from service.runner.instance.outage import EVENTS_AT_ONCE
from tests.kit.hostile import RUNS, HostileInstance, Process, begin, for_ever, says
from tests.kit.running import running, write_card
from tests.kit.sshd import USER, Sshd

LINK_TIMEOUT = 3
CONNECT_TIMEOUT = 12
SHORT = {"resource_timeout": 2, "link_timeout": 60}
TERMINAL = ("completed", "failed", "cancelled")


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (ssh, "RUN_SECONDS_MAX", 3.0),
        (heartbeat, "ASK_SECONDS_FIRST", 0.1),
        (heartbeat, "ASK_SECONDS_MAX", 0.2),
        (heartbeat, "DIFFER_SECONDS_MAX", 0.5),
        (time_limit, "SECONDS_MORE", 1.0),
        (time_limit, "LATE_SECONDS", 0.5),
        (link, "LIVED_SECONDS_MIN", 0.05),
        (link, "LOGIN_RETRY_SECONDS", 0.1),
        (link, "RETRY_SECONDS_MAX", 0.2),
    ):
        monkeypatch.setattr(module, name, value)


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much time for an answer as an honest instance on a busy machine needs."""
    monkeypatch.setattr(ssh, "RUN_SECONDS_MAX", 12.0)
    monkeypatch.setattr(heartbeat, "DIFFER_SECONDS_MAX", 12.0)


# --- what an instance may do ---------------------------------------------------------------------------------------


def held(_server: HostileInstance, process: Process, nonce: bytes) -> Any:
    return _end(process, nonce, b"held")


async def _end(process: Process, nonce: bytes, word: bytes, log: bytes = b"") -> None:
    process.stdout.write(b"\n" + nonce + b"\n" + log)
    process.stderr.write(b"\n" + nonce + b" " + word + b"\n")
    process.exit(0)


async def drop(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\n")
    await asyncio.sleep(0.02)
    process.channel.get_connection().abort()


async def drop_after_a_byte(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\nx")
    await asyncio.sleep(0.02)
    process.channel.get_connection().abort()


async def trickle(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\n")
    while True:
        process.stdout.write(b".")
        await asyncio.sleep(0.05)


async def lines_without_end(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\n")
    while True:
        process.stdout.write(b"a line of some length, and another, and another\n" * 100)
        await process.stdout.drain()
        await asyncio.sleep(0.01)


async def one_line_without_end(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\n")
    while True:
        process.stdout.write(b"x" * 100_000)
        await process.stdout.drain()
        await asyncio.sleep(0.01)


async def noise_without_end(_server: HostileInstance, process: Process, _nonce: bytes) -> None:
    while True:
        process.stdout.write(b"welcome " * 10_000)
        await process.stdout.drain()


async def end_of_file(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\n")
    process.stdout.write_eof()
    await process.wait_closed()


async def errors_without_end(_server: HostileInstance, process: Process, nonce: bytes) -> None:
    process.stdout.write(b"\n" + nonce + b"\n")
    while True:
        process.stderr.write(b"\n" + nonce[:-1] + b" ledger begin\n" * 100)
        await process.stderr.drain()
        await asyncio.sleep(0.01)


# --- how the job ends ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def service_of(folder: Path, key_path: Path, **settings: Any) -> AsyncIterator[Service]:
    given: dict[str, Any] = {
        "ssh_key": key_path,
        "ssh_user": USER,
        "connect_timeout": CONNECT_TIMEOUT,
        "link_timeout": LINK_TIMEOUT,
        "resource_timeout": 60,
        "max_attempts": 1,
    }
    async with running(folder, **(given | settings)) as service:
        yield service


async def install(service: Service, port: int, folder: Path, *cards: str) -> str:
    (folder / "ui").mkdir(exist_ok=True)
    body = {"ssh_host": "127.0.0.1", "ssh_port": port, "ui_home": str(folder / "ui"), "resources": list(cards)}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{service.url}/resources/install", json=body) as response,
    ):
        answer = await response.json()
        assert response.status == 202, answer
        return str(answer["job_id"])


async def ended(service: Service, job_id: str, seconds: float = 90) -> dict[str, Any]:
    async with asyncio.timeout(seconds), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{service.url}/resources/jobs/{job_id}") as response:
                job: dict[str, Any] = await response.json()
            if job["state"] in TERMINAL:
                return job
            await asyncio.sleep(0.05)


async def types_of(service: Service, job_id: str) -> list[str]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{service.url}/resources/jobs/{job_id}/events?limit=10000") as response,
    ):
        return [event["type"] for event in (await response.json())["events"]]


@pytest.mark.parametrize(
    ("acts", "cause"),
    [
        pytest.param({"opens": False}, "no_shell", id="opens no session"),
        pytest.param({"look": for_ever}, "no_shell", id="silent after the key"),
        pytest.param({"look": noise_without_end}, "no_shell", id="noise before the nonce"),
        pytest.param({"look": begin}, "instance_silent", id="nonce and nothing more"),
        pytest.param({"look": drop}, "ssh_unreachable", id="dropped at the first look"),
        pytest.param({"look": says(b"x\n" * 700_000)}, "instance_silent", id="an answer of a megabyte"),
        pytest.param({"ask": for_ever}, "instance_silent", id="launched, then silent to all"),
        pytest.param({"ask": begin}, "instance_silent", id="launched, then half an answer"),
        pytest.param({"ask": says(b"nonsense\n")}, "unknown", id="launched, then nonsense"),
        pytest.param({"ask": says(b"signalled 0 0\n")}, "instance_silent", id="ended, but not for its follower"),
        pytest.param({"ask": says(b"size 9\nsignalled 1 0\n")}, "instance_silent", id="a log that is not sent"),
        pytest.param({"ask": RUNS}, "timeout", id="says for ever that it runs"),
        pytest.param({"attach": held}, "instance_silent", id="held again and again"),
        pytest.param({"attach": drop}, "instance_lost", id="answers and drops"),
        pytest.param({"attach": drop_after_a_byte}, "timeout", id="a byte, then drops"),
        pytest.param({"attach": says(b"")}, "instance_silent", id="ends without an end"),
        pytest.param({"attach": trickle}, "timeout", id="byte by byte"),
        pytest.param({"attach": lines_without_end}, "timeout", id="lines without end"),
        pytest.param({"attach": one_line_without_end}, "timeout", id="one line without end"),
        pytest.param({"attach": errors_without_end}, "timeout", id="errors without end"),
        pytest.param({"attach": end_of_file}, "timeout", id="end of file, and open"),
    ],
)
async def test_every_wait_has_an_end_and_a_cause(tmp_path: Path, acts: dict[str, Any], cause: str) -> None:
    # Whichever limit is looked at, the others are far away.
    settings = SHORT if cause == "timeout" else {} if "attach" in acts or "ask" in acts else {"connect_timeout": 3}
    async with (
        HostileInstance(tmp_path, **acts) as instance,
        service_of(tmp_path, instance.key_path, **settings) as service,
    ):
        job_id = await install(service, instance.port, tmp_path, write_card(tmp_path, "loras/one.md", "sleep 1000"))
        job = await ended(service, job_id)
        assert (job["state"], job["cause"]) == ("failed", cause), job["error"]
        types = await types_of(service, job_id)
        about_links = [kind for kind in types if kind in ("link_lost", "job_reattached", "connecting")]
        assert len(about_links) <= 2 * EVENTS_AT_ONCE + 4
        # What the tool printed has a bound of its own.
        assert len([kind for kind in types if kind != "output"]) <= 2 * EVENTS_AT_ONCE + 20


async def test_hostile_instances_do_not_keep_the_places_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them fill all the places there are; a third job gets its turn."""
    patient(monkeypatch)
    honest = Sshd(tmp_path)
    try:
        await honest.start()
        async with (
            HostileInstance(tmp_path, ask=for_ever) as first,
            HostileInstance(tmp_path, attach=held) as second,
            service_of(tmp_path, honest.key_path, max_concurrent_jobs=2) as service,
        ):
            card = write_card(tmp_path, "loras/one.md", "true")
            hostile = [await install(service, instance.port, tmp_path, card) for instance in (first, second)]
            job = await ended(service, await install(service, honest.port, tmp_path, card))
            assert job["state"] == "completed"
            assert [(await ended(service, job_id))["state"] for job_id in hostile] == ["failed", "failed"]
    finally:
        await honest.close()


async def test_a_silent_tool_on_a_healthy_instance_is_waited_for(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than the limit for an instance that says nothing, and on one connection."""
    patient(monkeypatch)
    seconds = 2 * LINK_TIMEOUT
    async with service_of(tmp_path, sshd.key_path) as service:
        card = write_card(tmp_path, "loras/quiet.md", f"sleep {seconds}\necho done")
        job_id = await install(service, sshd.port, tmp_path, card)
        job = await ended(service, job_id)
        assert job["state"] == "completed", (job["error"], job["cause"])
        assert "link_lost" not in await types_of(service, job_id)
