"""Instances over HTTP, with a real sshd: whether one can be used, what lies on it, and files that are removed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.runner.instance import checkup
from service.runner.instance.known_hosts import KnownHosts
from tests.kit.ports import free_port
from tests.kit.running import running, write_card
from tests.kit.sshd import USER, Sshd


class Api:
    def __init__(self, service: Service, http: aiohttp.ClientSession, sshd: Sshd, folder: Path) -> None:
        self.service = service
        self.http = http
        self.sshd = sshd
        self.folder = folder
        self.ui = folder / "ComfyUI"
        self.instance = f"{USER}@127.0.0.1:{sshd.port}"

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, path, json=body) as response:
            return response.status, await response.json()

    async def check(self, **changes: Any) -> Any:
        body = {"ssh_host": "127.0.0.1", "ssh_port": self.sshd.port, "ui_home": str(self.ui), "ssh_user": USER}
        status, answer = await self("POST", "/instances/check", body | changes)
        assert status == 200, answer
        names = [line["check"] for line in answer["lines"]]
        assert names == ["name", "port", "host_key", "login", "comfyui", "disk", "tools"]
        return answer

    async def ended(self, job_id: str) -> Any:
        async with asyncio.timeout(60):
            while True:
                _, job = await self("GET", f"/resources/jobs/{job_id}")
                if job["state"] not in ("queued", "running"):
                    return job
                await asyncio.sleep(0.05)

    async def events(self, job_id: str) -> list[Any]:
        return list((await self("GET", f"/resources/jobs/{job_id}/events"))[1]["events"])

    def put(self, path: str, content: bytes = b"\0" * 100) -> Path:
        file = self.ui / "models" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file


@pytest.fixture
async def sshd(tmp_path: Path) -> AsyncIterator[Sshd]:
    folder = tmp_path / "instance"
    folder.mkdir()
    server = Sshd(folder)
    try:
        yield await server.start()
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def serving(folder: Path, sshd: Sshd, **settings: Any) -> AsyncIterator[Api]:
    given = {"ssh_key": sshd.key_path, "ssh_user": USER, "connect_timeout": 30} | settings
    async with running(folder, **given) as service, aiohttp.ClientSession(base_url=service.url) as http:
        yield Api(service, http, sshd, folder)


@pytest.fixture
async def api(tmp_path: Path, sshd: Sshd) -> AsyncIterator[Api]:
    async with serving(tmp_path, sshd) as served:
        yield served


def states(answer: Any) -> dict[str, str]:
    return {line["check"]: line["state"] for line in answer["lines"]}


def text(answer: Any, check: str) -> str:
    return next(str(line["text"]) for line in answer["lines"] if line["check"] == check)


# --- check -----------------------------------------------------------------------------------------------------------


async def test_an_instance_that_is_ready(api: Api, tmp_path: Path) -> None:
    (api.ui / "models").mkdir(parents=True)
    (api.ui / "main.py").touch()
    begin = time.monotonic()
    answer = await api.check()
    assert time.monotonic() - begin < 5
    assert (answer["ok"], answer["instance"]) == (True, api.instance)
    assert set(states(answer).values()) <= {"ok", "warning"}
    assert states(answer)["comfyui"] == "ok"
    assert answer["host_key_sha256"] == api.sshd.fingerprint
    assert "new: an install will remember it" in text(answer, "host_key")
    assert "GB are free" in text(answer, "disk")
    assert "curl" in text(answer, "tools")
    # The check is no contact that anybody has agreed to.
    assert KnownHosts(tmp_path / "known_hosts").keys("127.0.0.1", api.sshd.port) == []
    assert answer["public_key"] is None
    # An install is; then the key is known.
    card = write_card(tmp_path, "a.md")
    body = {"ssh_host": "127.0.0.1", "ssh_port": api.sshd.port, "ui_home": str(api.ui), "resources": [card]}
    _, made = await api("POST", "/resources/install", body)
    assert (await api.ended(made["job_id"]))["state"] == "completed"
    assert "(known)" in text(await api.check(), "host_key")
    # Another machine at this address.
    await api.sshd.stop()
    api.sshd.new_host_key()
    await api.sshd.start()
    changed = await api.check()
    assert (states(changed)["host_key"], states(changed)["login"], changed["ok"]) == ("failed", "skipped", False)
    assert changed["host_key_sha256"] == api.sshd.fingerprint
    assert "has changed" in text(changed, "host_key")
    assert (await api.check(host_key_sha256=changed["host_key_sha256"]))["ok"]


async def test_comfyui_elsewhere_and_nowhere(api: Api) -> None:
    (api.sshd.home / "ComfyUI/models").mkdir(parents=True)
    (api.sshd.home / "ComfyUI/main.py").touch()
    answer = await api.check(ui_home=str(api.folder / "nowhere"))
    assert (states(answer)["comfyui"], answer["ui_homes"]) == ("warning", [str(api.sshd.home / "ComfyUI")])
    assert answer["ok"]


async def test_a_name_that_does_not_resolve(api: Api) -> None:
    answer = await api.check(ssh_host="no-such-host.invalid")
    assert states(answer) == {"name": "failed"} | dict.fromkeys(list(states(answer))[1:], "skipped")


async def test_a_port_at_which_nobody_listens(api: Api) -> None:
    answer = await api.check(ssh_port=free_port())
    assert (states(answer)["name"], states(answer)["port"], states(answer)["host_key"]) == ("ok", "failed", "skipped")
    assert "nothing listens" in text(answer, "port")


async def test_what_is_no_ssh_server(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(checkup, "SECONDS_MAX", 1.0)
    for behave in (speak, stay):
        server = await asyncio.start_server(behave, "127.0.0.1", 0)
        answer = await api.check(ssh_port=server.sockets[0].getsockname()[1])
        assert states(answer)["port"] == "failed", answer
        server.close()


async def test_a_key_that_is_refused(api: Api) -> None:
    (api.sshd.folder / "authorized_keys").write_text("")
    answer = await api.check()
    assert (states(answer)["host_key"], states(answer)["login"], answer["ok"]) == ("ok", "failed", False)
    assert answer["public_key"] is None
    assert any("cloud.vast.ai" in line for line in answer["where"])
    _, made = await api("POST", "/keys/ssh")
    answer = await api.check()
    assert answer["public_key"] == made["public_key"]
    (api.sshd.folder / "authorized_keys").write_text(made["public_key"] + "\n")
    assert states(await api.check())["login"] == "ok"


async def test_a_login_that_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    folder.mkdir()
    server = await Sshd(folder, force_command="/bin/echo Welcome, choose a menu").start()
    try:
        async with serving(tmp_path, server) as api:
            answer = await api.check()
            assert (states(answer)["login"], states(answer)["comfyui"]) == ("failed", "skipped")
            assert "choose a menu" in text(answer, "login")
    finally:
        await server.close()


async def test_tools_that_are_missing(tmp_path: Path) -> None:
    folder, tools = tmp_path / "instance", tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    for name in ("sh", "bash", "df", "awk", "dirname", "cat", "tr", "find", "head", "base64"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    server = await Sshd(folder, env={"PATH": str(tools)}).start()
    try:
        async with serving(tmp_path, server) as api:
            answer = await api.check()
            assert (states(answer)["tools"], answer["ok"]) == ("failed", False)
            assert "flock, setsid, mkfifo" in text(answer, "tools")
    finally:
        await server.close()


async def test_private_targets_are_refused_as_for_installs(tmp_path: Path, sshd: Sshd) -> None:
    async with serving(tmp_path, sshd, private_targets=False) as api:
        for host in ("127.0.0.1", "169.254.169.254", "[::1]", "10.1.2.3"):
            status, answer = await api("POST", "/instances/check", {"ssh_host": host, "ssh_port": sshd.port})
            assert (status, answer["errors"][0]["field"]) == (400, "ssh_host")
        status, answer = await api("GET", f"/instances/{api.instance}/models?ui_home=/x")
        assert status == 400
        assert (await api("POST", f"/instances/{api.instance}/removals", {"ui_home": "/x", "paths": ["a"]}))[0] == 400
        # A name that leads there.
        answer = await api.check(ssh_host="localhost")
        assert (states(answer)["name"], "is a private address" in text(answer, "name")) == ("failed", True)


# --- what lies there -------------------------------------------------------------------------------------------------


async def installed(api: Api, *cards: str) -> Any:
    body = {"ssh_host": "127.0.0.1", "ssh_port": api.sshd.port, "ui_home": str(api.ui), "resources": list(cards)}
    status, made = await api("POST", "/resources/install", body)
    assert status == 202, made
    return await api.ended(made["job_id"])


async def test_the_instances_and_their_models(api: Api, tmp_path: Path) -> None:
    assert (await api("GET", "/instances"))[1] == {"instances": []}
    assert (await api("GET", f"/instances/{api.instance}"))[0] == 404
    api.put("loras/old.safetensors")
    api.put("loras/half.safetensors.part")
    api.put("loras/<img src=x>.ckpt", b"<html>")
    (tmp_path / "source.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    source = f"file://{tmp_path}/source.safetensors"
    card = write_card(
        tmp_path,
        "loras/a.md",
        f'curl -fS --create-dirs -o "$UI_HOME/models/loras/a.safetensors" {source}',
    )
    assert (await installed(api, card))["state"] == "completed"
    _, found = await api("GET", "/instances")
    (only,) = found["instances"]
    assert (only["instance"], only["jobs"], only["active"], only["ui_home"]) == (api.instance, 1, 0, str(api.ui))
    _, one = await api("GET", f"/instances/{api.instance}")
    assert [job["state"] for job in one["recent"]] == ["completed"]
    status, models = await api("GET", f"/instances/{api.instance}/models")
    assert status == 200, models
    kinds = {file["path"]: (file["kind"], file["card"]) for file in models["files"]}
    assert kinds == {
        "loras/old.safetensors": ("model", None),
        "loras/half.safetensors.part": ("half", None),
        "loras/<img src=x>.ckpt": ("text", None),
        "loras/a.safetensors": ("model", "loras/a.md"),
    }
    assert models["disk"]["free"] > 0
    assert models["seconds"] < 5
    _, nothing = await api("GET", f"/instances/{api.instance}/models?ui_home={tmp_path}/nowhere")
    assert (nothing["missing"], nothing["files"]) == (True, [])


async def test_an_instance_that_cannot_be_asked(api: Api) -> None:
    name = f"{USER}@127.0.0.1:{free_port()}"
    status, answer = await api("GET", f"/instances/{name}/models?ui_home=/x")
    assert (status, answer["code"]) == (502, "instance_unavailable")
    assert "127.0.0.1" in answer["message"]
    assert (await api("GET", f"/instances/{name}/models"))[0] == 404
    for wrong in ("nobody", "root@host", "root@:22", "root@host:0", "root@host:99999", "r t@host:22", "root@ho st:22"):
        assert (await api("GET", f"/instances/{wrong}/models?ui_home=/x"))[0] == 400, wrong


async def test_files_are_removed_by_a_job_of_its_own(api: Api) -> None:
    old, kept = api.put("loras/old.safetensors"), api.put("loras/kept.safetensors")
    paths = ["loras/old.safetensors", "loras/gone.safetensors"]
    twice = {"ui_home": str(api.ui), "paths": paths * 2}
    assert (await api("POST", f"/instances/{api.instance}/removals", twice))[0] == 400
    status, started = await api("POST", f"/instances/{api.instance}/removals", {"ui_home": str(api.ui), "paths": paths})
    assert (status, started["count"]) == (202, 2), started
    job = await api.ended(started["job_id"])
    assert (job["state"], job["removes"], job["total"]) == ("completed", paths, 0)
    events = await api.events(started["job_id"])
    removed = [(event["path"], event["size"]) for event in events if event["type"] == "file_removed"]
    assert removed == [("loras/old.safetensors", 100), ("loras/gone.safetensors", None)]
    assert [event["type"] for event in events][-1] == "job_completed"
    assert (old.exists(), kept.exists()) == (False, True)


async def test_what_cannot_be_removed_fails_and_says_so(api: Api) -> None:
    api.put("loras/folder/x.safetensors")
    body = {"ui_home": str(api.ui), "paths": ["loras/folder"]}
    _, started = await api("POST", f"/instances/{api.instance}/removals", body)
    job = await api.ended(started["job_id"])
    assert (job["state"], job["cause"]) == ("failed", "permission")
    assert job["error"] == "loras/folder stays: it is a folder"
    # A retry tries again.
    (api.ui / "models/loras/folder/x.safetensors").unlink()
    (api.ui / "models/loras/folder").rmdir()
    _, again = await api("POST", f"/resources/jobs/{started['job_id']}/retry")
    assert (await api.ended(again["job_id"]))["state"] == "completed"


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../main.py", "loras/../../x", "a//b", "./a", "a/.", "a\0b", "x" * 1_001]
)
async def test_paths_that_lead_out_are_refused(api: Api, path: str) -> None:
    body = {"ui_home": "/ui", "paths": [path]}
    status, answer = await api("POST", f"/instances/{api.instance}/removals", body)
    assert (status, answer["errors"][0]["field"]) == (400, "paths[0]")


async def test_room_is_made_before_the_next_install(api: Api, tmp_path: Path) -> None:
    """A removal waits for the install that runs, and no longer."""
    old = api.put("loras/old.safetensors")
    slow = write_card(tmp_path, "slow.md", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; test -e {old}")
    late = write_card(tmp_path, "late.md", f"test ! -e {old}")
    ids = []
    for card in (slow, late):
        body = {"ssh_host": "127.0.0.1", "ssh_port": api.sshd.port, "ui_home": str(api.ui), "resources": [card]}
        ids.append((await api("POST", "/resources/install", body))[1]["job_id"])
    async with asyncio.timeout(30):
        while (await api("GET", f"/resources/jobs/{ids[0]}"))[1]["resources"][0]["state"] != "running":
            await asyncio.sleep(0.05)
    body = {"ui_home": str(api.ui), "paths": ["loras/old.safetensors"]}
    ids.append((await api("POST", f"/instances/{api.instance}/removals", body))[1]["job_id"])
    _, one = await api("GET", f"/instances/{api.instance}")
    assert [job["state"] for job in one["recent"]] == ["queued", "queued", "running"]
    (tmp_path / "go").touch()
    assert [(await api.ended(job_id))["state"] for job_id in ids] == ["completed"] * 3


async def test_an_instance_that_boots_is_waited_for(tmp_path: Path, sshd: Sshd) -> None:
    """Longer than the setting says, where the request says so; and events say why."""
    await sshd.stop()
    async with serving(tmp_path, sshd, connect_timeout=1) as api:
        card = write_card(tmp_path, "a.md")
        body = {"ssh_host": "127.0.0.1", "ssh_port": sshd.port, "ui_home": str(api.ui), "resources": [card]}
        _, impatient = await api("POST", "/resources/install", body)
        assert (await api.ended(impatient["job_id"]))["cause"] == "ssh_unreachable"
        _, made = await api("POST", "/resources/install", body | {"wait_for_ssh_seconds": 60})
        await asyncio.sleep(2.5)
        _, job = await api("GET", f"/resources/jobs/{made['job_id']}")
        assert (job["state"], job["wait_for_ssh_seconds"]) == ("running", 60)
        await sshd.start()
        assert (await api.ended(made["job_id"]))["state"] == "completed"
        waits = [event for event in await api.events(made["job_id"]) if event["type"] == "connecting"]
        assert waits
        assert waits[0]["reason"] == "refused"
        status, answer = await api("POST", "/resources/install", body | {"wait_for_ssh_seconds": 0})
        assert (status, answer["errors"][0]["field"]) == (400, "wait_for_ssh_seconds")
