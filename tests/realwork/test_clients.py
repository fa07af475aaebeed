"""10. Clients that nobody here wrote, and 2, 3: what a card leaves running, what became of a file since."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from tests.kit.service import COMPLETE, ERROR, EVENT_NAMES, NAMESPACE, PROGRESS, connect, until
from tests.realwork.case import Expect
from tests.realwork.contents import Body
from tests.realwork.stage import Seen, Stage, check, slug

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINES = 400


async def begin(stage: Stage, case_id: str, *scripts: str, front: str = "") -> tuple[str, Seen]:
    """POST a job of one card for each script."""
    name = slug(case_id)
    cards = []
    for n, script in enumerate(scripts):
        text = f"---\ntitle: Card {n}\n{front}---\n# Download\n```bash\n{script}\n```\n"
        cards.append(stage.write_card(name, f"loras/{n}.md", text, name))
    seen = Seen(ui_home=stage.new_ui_home(name))
    return await stage.service.install(stage.instance, seen.ui_home, *cards), seen


class FirstClient:
    """Prints what the first client of this service prints."""

    def __init__(self) -> None:
        self.printed: list[str] = []
        self.has_ended = False
        self._client = socketio.AsyncClient(reconnection=False)

    async def follow(self, url: str, job_id: str) -> None:
        self._client.on(PROGRESS, self._progress, namespace=NAMESPACE)
        for name in (COMPLETE, ERROR):
            self._client.on(name, self._end, namespace=NAMESPACE)
        await connect(self._client, url, transports=["websocket"])
        await self._client.emit("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
        try:
            await until(lambda: self.has_ended, 60)
        finally:
            await self._client.disconnect()

    def _progress(self, data: dict[str, Any]) -> None:
        if data["type"] in ("stage_start", "stage_complete"):
            word = "Downloading" if data["type"] == "stage_start" else "Completed"
            self.printed.append(f"{word}: {data['name']}")

    def _end(self, data: dict[str, Any]) -> None:
        self.has_ended = True


@pytest.mark.realwork("10.each-name-once")
async def test_the_first_client_prints_each_name_once(stage: Stage) -> None:
    scripts = [f'wget -P "$L" @/size=2000000,rate=2000000/{name}.safetensors' for name in ("first", "second")]
    job_id, _ = await begin(stage, "10.each-name-once", *scripts)
    client = FirstClient()
    await client.follow(stage.service.url, job_id)
    names = ["first.safetensors", "second.safetensors"]
    assert sorted(client.printed) == sorted(f"{word}: {n}" for n in names for word in ("Downloading", "Completed"))


@pytest.mark.realwork("10.verification-speaks-its-own-words")
async def test_verification_speaks_its_own_words(stage: Stage) -> None:
    job_id, seen = await begin(stage, "10.words", 'wget -q -P "$L" @/size=5000000/m.safetensors')
    await stage.until_ended(seen, job_id, 40)
    types = [event["type"] for event in seen.events]
    begins = types.index("verification_started")
    verifying = seen.events[begins:]
    assert "resource_verified" in types[begins:]
    assert {event["stage"] for event in verifying if event["type"] == "progress"} <= {"verify"}
    assert not {"stage_start", "stage_complete"} & set(types[begins:])


@pytest.mark.realwork("10.polling")
async def test_a_client_that_polls_gets_everything(stage: Stage) -> None:
    """python-engineio's client decodes at most 16 packets of an answer."""
    job_id, seen = await begin(stage, "10.polling", f'seq {LINES}\nwget -q -P "$L" @/whole/m.pth')
    await stage.until_ended(seen, job_id, 60)
    received: list[int] = []
    client = socketio.AsyncClient(reconnection=False)
    for name in EVENT_NAMES:
        client.on(name, lambda data: received.append(data["sequence"]), namespace=NAMESPACE)
    try:
        await connect(client, stage.service.url, transports=["polling"])
        await client.emit("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
        try:
            await until(lambda: len(received) >= len(seen.events), 20)
        except TimeoutError:
            raise AssertionError(f"{len(received)} of {len(seen.events)} events") from None
    finally:
        await client.disconnect()
    assert len(seen.events) > LINES
    assert received == [event["sequence"] for event in seen.events]


@pytest.mark.realwork("10.sse-client-leaves")
async def test_an_sse_client_that_leaves_is_no_error(stage: Stage) -> None:
    script = 'for n in $(seq 15); do echo "line $n"; sleep 0.1; done\nwget -q -P "$L" @/whole/m.pth'
    job_id, seen = await begin(stage, "10.sse", script)
    before = len(stage.service.log)
    url = f"{stage.service.url}/resources/jobs/{job_id}/events"
    for _ in range(3):
        async with (
            aiohttp.ClientSession() as http,
            http.get(url, headers={"Accept": "text/event-stream"}) as response,
        ):
            await response.content.readline()
            # Gone without a word, in the middle of the stream.
            assert response.connection is not None
            response.connection.transport.abort()  # type: ignore[union-attr]
    await stage.until_ended(seen, job_id, 40)
    await asyncio.sleep(0.3)
    log = stage.service.log[before:]
    assert "Traceback" not in log
    assert '"level": "error"' not in log


@pytest.mark.realwork("10.codes")
async def test_refusals_carry_a_code(stage: Stage) -> None:
    job_id, seen = await begin(stage, "10.codes", 'wget -q -P "$L" @/rate=300000/m.pth')
    good = {"ssh_host": "127.0.0.1", "ssh_port": 1, "ui_home": "/x", "resources": ["none/such.md"]}
    answers = {
        "not_found": await stage.service.post("/resources/install", good),
        "invalid": await stage.service.post("/resources/install", {**good, "ssh_port": "x"}),
        "conflict": await stage.service.post(f"/resources/jobs/{job_id}/retry", {}),
    }
    job = await stage.service.job(job_id)
    client = socketio.AsyncClient(reconnection=False)
    try:
        await connect(client, stage.service.url, transports=["websocket"])
        wanted = {"job_id": "00000000-0000-4000-8000-000000000000"}
        refused = await client.call("subscribe_install", wanted, namespace=NAMESPACE)
    finally:
        await client.disconnect()
    await stage.until_ended(seen, job_id, 40)
    assert {code: answer.get("code") for code, (_, answer) in answers.items()} == {code: code for code in answers}
    assert refused["success"] is False
    assert refused.get("code") == "not_found"
    assert {"pause", "cancel"} <= set(job.get("possible", ()))
    assert "retry" not in job["possible"]


@pytest.mark.realwork("2.background-true")
async def test_a_card_that_says_background_leaves_its_server(stage: Stage) -> None:
    script = 'wget -q -P "$L" @/whole/m.pth\nnohup python3 -m http.server 0 >/dev/null 2>&1 &\necho $! >"$UI_HOME/pid"'
    job_id, seen = await begin(stage, "2.background-true", script, front="background: true\n")
    await stage.until_ended(seen, job_id, 40)
    pid = int((seen.ui_home / "pid").read_text())
    await asyncio.sleep(0.5)
    runs = is_running(pid)
    if runs:
        os.kill(pid, signal.SIGKILL)
    assert seen.job["state"] == "completed"
    assert runs


def is_running(pid: int) -> bool:
    """A zombie is not: process 1 of a container may never reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def twice(stage: Stage, case_id: str, first: str, second: str, between: Any = None) -> Seen:
    """The card, then the card after it was edited or the file was touched."""
    job_id, seen = await begin(stage, case_id, first)
    await stage.until_ended(seen, job_id, 40)
    assert seen.job["state"] == "completed", seen.results()
    if between is not None:
        between(seen.ui_home / "models/loras/m.pth")
    name = slug(case_id)
    text = f"---\ntitle: Card 0\n---\n# Download\n```bash\n{second}\n```\n"
    card = stage.write_card(name, "loras/0.md", text, name)
    job_id = await stage.service.install(stage.instance, seen.ui_home, card)
    await stage.until_ended(seen, job_id, 40)
    seen.fetched = stage.site.sent(name)
    return seen


@pytest.mark.realwork("ledger.another-address")
async def test_another_address_for_the_same_name_is_loaded_anew(stage: Stage) -> None:
    other = Body(name="m.pth", size_bytes=250_000)
    seen = await twice(stage, "ledger.address", 'wget -q -P "$L" @/whole/m.pth', 'wget -q -P "$L" @/size=250000/m.pth')
    check(Expect(files={"loras/m.pth": other}), seen)


@pytest.mark.realwork("ledger.changed-since")
async def test_a_file_that_somebody_changed_is_loaded_anew(stage: Stage) -> None:
    """Of the same length and time: only its change time tells."""
    script = 'wget -q -P "$L" @/whole/m.pth'

    def change(path: Any) -> None:
        times = path.stat()
        data = path.read_bytes()
        path.write_bytes(data[:-100] + bytes(100))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    seen = await twice(stage, "ledger.changed", script, script, change)
    check(Expect(files={"loras/m.pth": "m.pth"}, fetched_min=1.9), seen)


@pytest.mark.realwork("ledger.deleted-since")
async def test_a_file_that_somebody_deleted_is_loaded_anew(stage: Stage) -> None:
    script = 'curl -sfL -o "$L/m.pth" @/whole/m.pth'
    seen = await twice(stage, "ledger.deleted", script, script, lambda path: path.unlink())
    check(Expect(files={"loras/m.pth": "m.pth"}), seen)


@pytest.mark.realwork("9.readme")
async def test_a_readme_is_no_card(stage: Stage) -> None:
    folder = stage.cards / "9-readme"
    folder.mkdir()
    for name in ("README.md", "readme.md"):
        (folder / name).write_text("# My cards\n\n# Download\n```bash\ntrue\n```\n")
    listed = await stage.service.get("/resources")
    assert not [entry for entry in str(listed).split("'") if "9-readme" in entry]


@pytest.mark.realwork("truth.stall-ignores-the-recorder")
async def test_a_quiet_download_that_hangs_is_stalled(stage: Stage, tmp_path: Path) -> None:
    """The records of its bytes do not count as its own movement."""
    service = stage.new_service(tmp_path, INSTALLER_STALL_TIMEOUT="3", INSTALLER_MAX_ATTEMPTS="1")
    text = '---\ntitle: Hangs\n---\n# Download\n```bash\nwget -q -P "$L" @/hangs/m.pth\n```\n'
    card = stage.write_card("truth-stall", "loras/card.md", text, "truth-stall")
    seen = Seen(ui_home=stage.new_ui_home("truth-stall"))
    try:
        await service.start()
        job_id = await service.install(stage.instance, seen.ui_home, card)
        await stage.until_ended(seen, job_id, 30, service)
    finally:
        await service.kill()
    assert (seen.job["state"], seen.job["cause"]) == ("failed", "stalled")
    assert seen.of("resource_stalled")


@pytest.mark.realwork("truth.dependents-wait")
async def test_what_depends_on_a_card_waits_until_it_is_installed(stage: Stage) -> None:
    name = "truth-dependents"
    needed = '---\ntitle: Needed\n---\n# Download\n```bash\nwget -q -P "$L" @/size=5000000/a.safetensors\n```\n'
    needed = stage.write_card(name, "loras/needed.md", needed, name)
    text = f"---\ntitle: Needs it\ndependencies: [{needed}]\n---\n# Download\n```bash\n"
    needs = stage.write_card(name, "loras/needs.md", text + 'wget -q -P "$L" @/whole/b.pth\n```\n', name)
    seen = Seen(ui_home=stage.new_ui_home(name))
    job_id = await stage.service.install(stage.instance, seen.ui_home, needs, parallel=2)
    await stage.until_ended(seen, job_id, 40)
    assert seen.job["state"] == "completed"
    order = [(event["type"], event["resource"]) for event in seen.of("resource_started", "resource_installed")]
    assert order.index(("resource_installed", needed)) < order.index(("resource_started", needs))
