"""The parts of the demo alone: the stand-in CivitAI by HTTP and by the real civitdl, and the instance by SSH."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import asyncssh
import pytest

from service.demo.civitai import StandInCivitai, StandInModel, content, sha256
from service.demo.instance import DemoInstance
from service.demo.models import MODELS, write_cards
from service.library import Library, Resource
from service.runner.instance.attempt_program import civitdl_config
from tests.kit.service import until

CIVITAI = "https://civitai.com"


@pytest.fixture
async def civitai(tmp_path: Path) -> AsyncIterator[StandInCivitai]:
    stand_in = StandInCivitai(tmp_path / "civitai")
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[DemoInstance]:
    server = DemoInstance(tmp_path / "instance", {"WHO": "the demo"})
    await server.start()
    yield server
    await server.stop()


async def connect(instance: DemoInstance) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        "127.0.0.1",
        instance.port,
        username="anyone",
        client_keys=[str(instance.key_path)],
        known_hosts=None,
        config=None,
        agent_path=None,
    )


async def fetch(env: dict[str, str], path: str, **headers: str) -> tuple[int, bytes, Any]:
    """GET through the proxy, with the stand-in's own authority."""
    context = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
    async with (
        aiohttp.ClientSession() as http,
        http.get(CIVITAI + path, proxy=env["HTTPS_PROXY"], ssl=context, headers=headers) as response,
    ):
        return response.status, await response.read(), response.headers


async def civitdl(folder: Path, env: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    """The real one, with short pauses and one retry."""
    config = folder / "home/.config/civitdl/config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(civitdl_config("", retry_count=1, pause_seconds=0.1), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        "civitdl",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            "HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "PYTHONUTF8": "1",
            **env,
        },
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


# --- the models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.id))
def test_the_content_of_a_model_is_a_whole_safetensors_file(model: StandInModel) -> None:
    data = b"".join(content(model))
    assert len(data) == model.size_bytes
    (header_bytes,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + header_bytes])
    begin, end = header["data"]["data_offsets"]
    assert (begin, end) == (0, len(data) - 8 - header_bytes)
    assert hashlib.sha256(data).hexdigest() == sha256(model)


def test_the_demo_has_a_name_in_another_script_and_a_dependency(tmp_path: Path) -> None:
    paths = write_cards(tmp_path)
    assert all(isinstance(card, Resource) for card in Library(tmp_path).all())
    assert [card.path for card in Library(tmp_path).resolve(paths[1:])] == [paths[0], *paths[1:]]
    assert any('"' in model.name and not model.name.isascii() for model in MODELS)


# --- the stand-in, by HTTP ----------------------------------------------------------------------------------------


async def test_what_civitdl_asks_for(civitai: StandInCivitai) -> None:
    model = StandInModel(id=7, name="Seven", size_bytes=100_000, images=2)
    civitai.add(model)
    status, body, _ = await fetch(civitai.env, "/api/v1/models/7")
    found = json.loads(body)
    assert (status, found["id"], found["name"]) == (200, 7, "Seven")
    status, body, _ = await fetch(civitai.env, f"/api/v1/model-versions/{model.version_id}")
    version = json.loads(body)
    assert version.pop("model") == {"name": "Seven", "type": "LORA", "nsfw": False, "poi": False}
    assert found["modelVersions"] == [version]
    assert version["files"][0]["hashes"]["SHA256"] == sha256(model).upper()
    assert len(version["images"]) == 2
    status, body, headers = await fetch(civitai.env, version["downloadUrl"].removeprefix(CIVITAI))
    assert (status, hashlib.sha256(body).hexdigest()) == (200, sha256(model))
    assert headers["Content-Disposition"] == f'attachment; filename="{model.file_name}"'
    assert [(entry.status, entry.bytes) for entry in civitai.downloads(7)] == [(200, 100_000)]


@pytest.mark.parametrize("path", ["/api/v1/models/8", "/api/v1/model-versions/5008", "/api/download/models/5008"])
async def test_what_does_not_exist(civitai: StandInCivitai, path: str) -> None:
    status, _, _ = await fetch(civitai.env, path)
    assert status == 404
    assert [(entry.path, entry.status) for entry in civitai.requests] == [(path, 404)]


@pytest.mark.parametrize("api_status", [404, 500, 503])
async def test_metadata_that_fails(civitai: StandInCivitai, api_status: int) -> None:
    civitai.add(StandInModel(id=7, name="Seven", api_status=api_status))
    for path in ("/api/v1/models/7", "/api/v1/model-versions/5007"):
        assert (await fetch(civitai.env, path))[0] == api_status


async def test_a_download_that_fails_twice_and_then_works(civitai: StandInCivitai) -> None:
    civitai.add(StandInModel(id=7, name="Seven", status=429, fails=2))
    answers = [await fetch(civitai.env, "/api/download/models/5007") for _ in range(3)]
    assert [status for status, _, _ in answers] == [429, 429, 200]
    assert answers[0][2]["Retry-After"] == "1"


async def test_a_model_that_wants_a_key(civitai: StandInCivitai) -> None:
    civitai.add(StandInModel(id=7, name="Seven", requires_key="abc"))
    path = "/api/download/models/5007"
    assert (await fetch(civitai.env, path))[0] == 401
    assert (await fetch(civitai.env, path, Authorization="Bearer wrong"))[0] == 401
    assert (await fetch(civitai.env, path, Authorization="Bearer abc"))[0] == 200


@pytest.mark.parametrize(("body", "kind"), [("<html>Sign in</html>", "text/html"), ('{"e": 1}', "application/json")])
async def test_a_page_in_place_of_the_file(civitai: StandInCivitai, body: str, kind: str) -> None:
    civitai.add(StandInModel(id=7, name="Seven", body=body))
    status, data, headers = await fetch(civitai.env, "/api/download/models/5007")
    assert (status, data.decode(), headers["Content-Type"].partition(";")[0]) == (200, body, kind)


async def test_a_connection_that_breaks(civitai: StandInCivitai) -> None:
    civitai.add(StandInModel(id=7, name="Seven", size_bytes=500_000, drop_after_bytes=200_000, fails=1))
    with pytest.raises(aiohttp.ClientError):
        await fetch(civitai.env, "/api/download/models/5007")
    await until(lambda: civitai.downloads(7))
    assert 200_000 <= civitai.downloads(7)[0].bytes < 500_000
    assert len((await fetch(civitai.env, "/api/download/models/5007"))[1]) == 500_000


async def test_a_download_that_is_held_and_released(civitai: StandInCivitai) -> None:
    civitai.add(StandInModel(id=7, name="Seven", size_bytes=500_000, hold_after_bytes=200_000, has_length=False))
    download = asyncio.create_task(fetch(civitai.env, "/api/download/models/5007"))
    done, _ = await asyncio.wait({download}, timeout=0.3)
    assert not done
    civitai.release()
    assert len((await download)[1]) == 500_000


async def test_the_proxy_leads_nowhere_else(civitai: StandInCivitai) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientHttpProxyError) as refused:
            await http.get("https://example.com/", proxy=civitai.env["HTTPS_PROXY"])
    assert refused.value.status == 502


async def test_a_stand_in_of_its_own_process(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.demo.civitai", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        control = f"http://127.0.0.1:{ready['control_port']}"
        model = StandInModel(id=7, name="Seven", size_bytes=300_000, hold_after_bytes=100_000)
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{control}/models", json=asdict(model)) as response:
                assert response.status == 200
            download = asyncio.create_task(fetch(ready["env"], "/api/download/models/5007"))
            done, _ = await asyncio.wait({download}, timeout=0.3)
            assert not done
            async with http.post(f"{control}/release") as response:
                assert response.status == 200
            _, data, _ = await download
            assert hashlib.sha256(data).hexdigest() == sha256(model)
            async with http.get(f"{control}/requests") as response:
                requests = await response.json()
        assert [(entry["path"], entry["bytes"]) for entry in requests] == [("/api/download/models/5007", 300_000)]
    finally:
        process.kill()
        await process.wait()


# --- the stand-in, by the real civitdl ----------------------------------------------------------------------------


async def test_the_real_civitdl_installs_from_it(tmp_path: Path, civitai: StandInCivitai) -> None:
    model = StandInModel(id=7, name='The "Quoted" LoRA — 光の魔法', size_bytes=300_000, images=2)
    civitai.add(model)
    url = f"{CIVITAI}/models/7?modelVersionId={model.version_id}"
    code, output = await civitdl(tmp_path, civitai.env, url, str(tmp_path / "ui"))
    assert (code, f'Download completed for "{model.name}"' in output) == (0, True), output
    (file,) = (tmp_path / "ui").rglob("*.safetensors")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256(model)
    assert len(list((tmp_path / "ui").rglob("*.png"))) == 2
    code, output = await civitdl(tmp_path, civitai.env, url, str(tmp_path / "ui"))
    assert "already existed at the destination path" in output


async def test_the_real_civitdl_takes_a_login_page_for_a_model(tmp_path: Path, civitai: StandInCivitai) -> None:
    page = "<html><title>Sign in</title></html>"
    civitai.add(StandInModel(id=7, name="Seven", body=page))
    code, output = await civitdl(tmp_path, civitai.env, "7", str(tmp_path / "ui"))
    assert (code, 'Download completed for "Seven"' in output) == (0, True), output
    (file,) = (tmp_path / "ui").rglob("*.safetensors")
    assert file.read_text() == page


# --- the instance -------------------------------------------------------------------------------------------------


async def until_gone(process: Path) -> None:
    await until(lambda: not process.exists())


def said(instance: DemoInstance, name: str) -> str:
    """What a command wrote into this file. The file is there before its line is."""
    file = instance.home / name
    text = file.read_text() if file.exists() else ""
    return text if text.endswith("\n") else ""


async def test_a_session_has_bytes_both_ways_and_an_exit_status(instance: DemoInstance) -> None:
    async with await connect(instance) as connection:
        sent = bytes(range(256)) * 4_000
        result = await connection.run("cat; echo wrong >&2; exit 3", input=sent, encoding=None)
        assert (result.stdout, result.stderr, result.exit_status) == (sent, b"wrong\n", 3)
        result = await connection.run('echo "$WHO"; pwd; command -v civitdl', encoding=None)
        lines = [b"the demo", os.fsencode(instance.home), os.fsencode(Path(sys.executable).parent / "civitdl")]
        assert result.stdout == b"\n".join(lines) + b"\n"
        assert (await connection.run("kill -TERM $$", encoding=None)).exit_status == 143
        results = await asyncio.gather(*(connection.run(f"sleep 0.1; echo {n}", encoding=None) for n in range(8)))
        assert [result.stdout for result in results] == [b"%d\n" % n for n in range(8)]


async def test_a_key_that_it_does_not_know_is_refused(instance: DemoInstance) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "127.0.0.1",
            instance.port,
            username="root",
            client_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            known_hosts=None,
            config=None,
            agent_path=None,
        )


async def test_a_command_ends_although_its_input_is_open(instance: DemoInstance) -> None:
    async with await connect(instance) as connection:
        process = await connection.create_process("exit 7", encoding=None)
        result = await asyncio.wait_for(process.wait(), 60)
        assert result.exit_status == 7


async def test_a_client_that_does_not_read_holds_the_command_back(instance: DemoInstance) -> None:
    async with await connect(instance) as connection:
        command = "head -c 100000000 /dev/zero; touch done"
        process = await connection.create_process(command, encoding=None)
        await asyncio.sleep(0.5)
        assert not (instance.home / "done").exists()
        process.close()
        await process.wait_closed()
        assert (await connection.run("echo still here", encoding=None)).stdout == b"still here\n"


async def test_what_is_detached_outlives_its_link_and_what_writes_does_not(instance: DemoInstance) -> None:
    connection = await connect(instance)
    detached = 'setsid sh -c "echo begun > begun; sleep 0.6; echo ended > ended" >/dev/null 2>&1 </dev/null &'
    await connection.create_process(f"{detached} cat", encoding=None)
    await connection.create_process("echo $$ > follower; exec tail -f /dev/null", encoding=None)
    await connection.create_process("echo $$ > writer; while echo x; do sleep 0.05; done", encoding=None)
    names = ("begun", "follower", "writer")
    await until(lambda: all(said(instance, name) for name in names))
    connection.abort()
    await connection.wait_closed()
    for name in ("follower", "writer"):
        await until_gone(Path("/proc") / said(instance, name).strip())
    await until(lambda: said(instance, "ended"))
    async with await connect(instance) as again:
        assert (await again.run("cat ended", encoding=None)).stdout == b"ended\n"


async def test_stop_ends_the_sessions(instance: DemoInstance) -> None:
    connection = await connect(instance)
    await connection.create_process("echo $$ > pid; exec sleep 60", encoding=None)
    await until(lambda: said(instance, "pid"))
    pid = int(said(instance, "pid"))
    await instance.stop()
    await until(lambda: not Path(f"/proc/{pid}").exists())
    connection.abort()
    await connection.wait_closed()
