"""8. SSH as it is on rented machines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.kit.ports import free_port
from tests.kit.service import ServiceProcess
from tests.kit.sshd import Sshd
from tests.realwork.contents import Body
from tests.realwork.stage import Seen, Stage, matches, slug

pytestmark = pytest.mark.asyncio(loop_scope="session")

GOOD = '---\ntitle: A card\n---\n# Download\n```bash\nwget -q -P "$L" @/whole/m.pth\n```\n'
LATE_SECONDS = 1.5


async def install(
    stage: Stage, service: ServiceProcess, instance: Sshd, case_id: str, seconds: float, ui_home: Path | None = None
) -> Seen:
    """Begin a job and follow it to its end."""
    name = slug(case_id)
    card = stage.write_card(name, "loras/card.md", GOOD, name)
    seen = Seen(ui_home=stage.new_ui_home(name) if ui_home is None else ui_home)
    job_id = await service.install(instance, seen.ui_home, card)
    await stage.until_ended(seen, job_id, seconds, service)
    return seen


def is_whole(seen: Seen) -> None:
    assert seen.job["state"] == "completed", seen.results()
    assert seen.files() == {"loras/m.pth": Body(name="m.pth").content()}


@pytest.mark.realwork("8.key-accepted-late")
async def test_a_key_that_is_accepted_late(stage: Stage) -> None:
    instance = await stage.new_instance("late", {}, {})
    keys = instance.folder / "authorized_keys"
    text = keys.read_text()
    keys.write_text("")
    try:
        asyncio.get_running_loop().call_later(LATE_SECONDS, keys.write_text, text)
        seen = await install(stage, stage.service, instance, "8.key-accepted-late", 40)
    finally:
        await instance.close()
    is_whole(seen)
    assert any(matches(event, {"type": "connecting", "*": "key"}) for event in seen.events), seen.events


@pytest.mark.long
@pytest.mark.realwork("8.key-never-accepted")
async def test_a_key_that_is_never_accepted(stage: Stage) -> None:
    """It is tried at most every ten seconds: newer servers close their door to a source that fails too often."""
    instance = await stage.new_instance("never", {}, {})
    (instance.folder / "authorized_keys").write_text("")
    try:
        seen = await install(stage, stage.service, instance, "8.key-never-accepted", 60)
        tries = (instance.folder / "sshd.log").read_text().count("Connection closed by authenticating user")
    finally:
        await instance.close()
    assert (seen.job["state"], seen.job["cause"]) == ("failed", "ssh_auth")
    assert 2 <= tries <= 4, tries


@pytest.mark.realwork("8.server-late")
async def test_a_server_that_answers_late(stage: Stage) -> None:
    instance = await stage.new_instance("starting", {}, {})
    await instance.stop()
    try:

        async def start_late() -> None:
            await asyncio.sleep(LATE_SECONDS)
            await instance.start()

        starting = asyncio.create_task(start_late())
        seen = await install(stage, stage.service, instance, "8.server-late", 40)
        await starting
    finally:
        await instance.close()
    is_whole(seen)
    assert any(matches(event, {"type": "connecting", "*": "refused"}) for event in seen.events), seen.events


@pytest.mark.realwork("8.name-unknown")
async def test_a_name_that_nobody_knows(stage: Stage) -> None:
    """While it connects, an event says why it waits."""
    card = stage.write_card("8-name-unknown", "loras/card.md", GOOD, "8-name-unknown")
    body = {"ssh_host": "no-such-host.invalid", "ssh_port": 22, "ui_home": "/workspace/ComfyUI", "resources": [card]}
    status, answer = await stage.service.post("/resources/install", body)
    assert status == 202, answer
    try:
        async with asyncio.timeout(10):
            while True:
                history = await stage.service.history(answer["job_id"])
                if any(event["type"] == "connecting" for event in history):
                    break
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError([event["type"] for event in history]) from None
    finally:
        await stage.service.post(f"/resources/jobs/{answer['job_id']}/cancel", {})


@pytest.mark.parametrize(
    ("name", "command", "words"),
    [
        pytest.param(
            "menu",
            "echo 'Please select a pod:'; cat >/dev/null; sleep 900",
            "Please select a pod",
            marks=pytest.mark.realwork("8.login-menu"),
            id="menu",
        ),
        pytest.param(
            "locked",
            "echo 'Your account is locked: top up your balance'; exit 1",
            "top up your balance",
            marks=pytest.mark.realwork("8.login-refuses"),
            id="refuses",
        ),
        pytest.param(
            "silent",
            "cat >/dev/null; sleep 900",
            "",
            marks=[pytest.mark.realwork("8.login-silent"), pytest.mark.long],
            id="silent",
        ),
        pytest.param(
            "stderr",
            "echo 'no such pod: it was stopped' >&2; exit 3",
            "it was stopped",
            marks=[pytest.mark.realwork("8.login-stderr"), pytest.mark.long],
            id="stderr",
        ),
    ],
)
async def test_a_login_that_never_runs_the_program(
    stage: Stage, tmp_path: Path, name: str, command: str, words: str
) -> None:
    """It has a limit and a cause, and what it printed is the explanation."""
    instance = await stage.new_instance(f"login-{name}", {}, {}, force_command=command)
    service = stage.new_service(tmp_path, INSTALLER_CONNECT_TIMEOUT="3", INSTALLER_LINK_TIMEOUT="3")
    try:
        await service.start()
        seen = await install(stage, service, instance, f"8.login-{name}", 15)
    finally:
        await service.kill()
        await instance.close()
    assert seen.job["state"] == "failed"
    assert seen.job["cause"] not in (None, "unknown")
    assert words in seen.job["error"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(one, other, marks=pytest.mark.realwork(f"8.one-queue-{one}-{other}"), id=f"{one}-{other}")
        for one, other in (
            ("localhost", "LOCALHOST"),
            ("localhost", "localhost."),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("host-of-mine.invalid", "Host-Of-Mine.Invalid."),
            ("fd00::a", "FD00:0::000A"),
            ("127.0.0.1", "127.1"),
        )
    ],
)
async def test_one_instance_under_two_names_is_one_queue(stage: Stage, one: str, other: str) -> None:
    """The first job connects to a port where nothing listens; the second waits for it."""
    name = f"8-one-queue-{slug(one)}-{slug(other)}"
    card = stage.write_card(name, "loras/card.md", GOOD, name)
    common = {"ssh_port": free_port(), "ui_home": "/workspace/ComfyUI", "resources": [card]}
    jobs = []
    try:
        for host in (one, other):
            status, answer = await stage.service.post("/resources/install", {"ssh_host": host, **common})
            assert status == 202, answer
            jobs.append(answer["job_id"])
            await asyncio.sleep(0.4)
        states = [(await stage.service.job(job))["state"] for job in jobs]
    finally:
        for job in reversed(jobs):
            await stage.service.post(f"/resources/jobs/{job}/cancel", {})
    assert states == ["running", "queued"]


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        pytest.param("nowhere/ComfyUI", "ComfyUI", marks=pytest.mark.realwork("8.ui-home-in-home"), id="home"),
        pytest.param("pod/ComfyUI", "pod/comfyui", marks=pytest.mark.realwork("8.ui-home-beside"), id="beside"),
    ],
)
async def test_a_ui_home_that_is_not_comfyui(stage: Stage, asked: str, there: str) -> None:
    """Below the home of the instance: what was asked for does not exist, ComfyUI lies elsewhere."""
    instance = await stage.new_instance(f"elsewhere-{slug(asked)}", {}, {})
    found = instance.home / there
    (found / "models").mkdir(parents=True)
    (found / "main.py").write_text("# ComfyUI\n")
    try:
        case_id = f"8.ui-home-{slug(asked)}"
        seen = await install(stage, stage.service, instance, case_id, 40, ui_home=instance.home / asked)
    finally:
        await instance.close()
    warnings = [event for event in seen.events if event["type"] == "resource_warning"]
    assert any(str(found) in str(event) for event in warnings), warnings


@pytest.mark.parametrize(
    "home",
    [
        pytest.param("/proc", marks=pytest.mark.realwork("7.home-without-room"), id="without-room"),
        pytest.param("/proc/1/home", marks=[pytest.mark.realwork("7.home-nowhere"), pytest.mark.long], id="nowhere"),
    ],
)
async def test_a_home_that_cannot_be_written(stage: Stage, home: str) -> None:
    """A file system that nobody can write to has no free block either: its disk is not full."""
    instance = await stage.new_instance(f"home-{slug(home)}", {"HOME": home}, {})
    try:
        seen = await install(stage, stage.service, instance, f"7.home-{slug(home)}", 40)
    finally:
        await instance.close()
    assert (seen.job["state"], seen.job["cause"]) == ("failed", "permission")
