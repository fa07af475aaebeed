"""What surrounds a service in production: the image's health check, the systemd unit, a proxy, a backup."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio
import trustme

from service.app import Service
from service.config import PREFIX, Settings
from service.web.guard import BODY_BYTES_MAX
from tests.kit.pages import page
from tests.kit.ports import free_port
from tests.kit.running import running, write_card
from tests.kit.service import NAMESPACE, connect, until

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-for-the-tests"
NAME = "installer.example.com"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy/resource-installer.service").read_text(encoding="utf-8")
CADDYFILE = (ROOT / "deploy/Caddyfile").read_text(encoding="utf-8")
NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
# As docs/deploying.md has it. Read-only, since no second connection may write to the log of a running service.
BACKUP = re.compile(r"^\$ sqlite3 -readonly (\S+) \"(VACUUM INTO '[^']+')\"$", re.MULTILINE)
BACKUP_COMMAND = "VACUUM INTO '{}'"


def settings_named(text: str) -> set[str]:
    return set(re.findall(rf"\b({PREFIX}[A-Z_]+)\b", text))


@pytest.mark.parametrize("path", ["Dockerfile", *(f"deploy/{name}" for name in sorted(os.listdir(ROOT / "deploy")))])
def test_only_settings_that_there_are(path: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = settings_named((ROOT / path).read_text(encoding="utf-8"))
    assert named
    assert named <= known


def instruction(name: str) -> list[str]:
    """The arguments of each such instruction, with continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def test_the_image_runs_the_service_as_nobody_in_particular() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert json.loads(instruction("ENTRYPOINT")[0]) == list(scripts)
    assert json.loads(instruction("CMD")[0]) == ["serve"]
    assert instruction("USER") == ["installer"]
    assert instruction("STOPSIGNAL") == ["SIGTERM"]
    (volume,) = instruction("VOLUME")
    (environment,) = instruction("ENV")
    assert f"sqlite+aiosqlite:///{volume}/" in environment
    assert f"INSTALLER_KNOWN_HOSTS={volume}/" in environment
    assert f"INSTALLER_KEY_FILE={volume}/" in environment


def test_what_the_build_needs_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    assert needed | {"pyproject.toml", "resources", *project["project"]["license-files"]} <= kept


async def test_the_health_check_of_the_image(tmp_path: Path) -> None:
    (check,) = instruction("HEALTHCHECK")
    command = json.loads(check[check.index("CMD ") + 4 :])
    command[0] = sys.executable

    async def status(port: int) -> int:
        environment = {**os.environ, "INSTALLER_PORT": str(port)}
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=quiet, stderr=quiet)
        return await asyncio.wait_for(process.wait(), 60)

    async with running(tmp_path, api_token=TOKEN) as service:
        assert await status(int(service.url.rpartition(":")[2])) == 0
    assert await status(free_port()) != 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_one(tmp_path: Path) -> None:
    unit = tmp_path / "resource-installer.service"
    unit.write_text(UNIT.replace("/opt/resource-installer/bin/resource-installer", sys.executable), encoding="utf-8")
    said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stderr) == (0, "")


def test_the_unit_lets_the_service_end_and_come_back() -> None:
    lines = UNIT.splitlines()
    for line in ("KillSignal=SIGTERM", "Restart=on-failure", "RestartPreventExitStatus=2", "NoNewPrivileges=yes"):
        assert line in lines
    assert "ExecStart=/opt/resource-installer/bin/resource-installer serve" in lines


def test_the_proxies_take_as_much_as_the_service() -> None:
    assert BODY_BYTES_MAX == 1 << 20
    assert "client_max_body_size 1m;" in (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    assert "max_size 1MiB" in CADDYFILE


async def install(http: aiohttp.ClientSession, url: str, **headers: str) -> str:
    body = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": ["a.md"]}
    async with http.post(f"{url}/resources/install", json=body, headers=headers) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["job_id"])


@pytest.mark.parametrize("tool", ["sqlite3", "python"])
async def test_a_backup_of_a_running_service(tmp_path: Path, tool: str) -> None:
    if tool == "sqlite3" and shutil.which(tool) is None:
        pytest.skip("sqlite3 is not installed")
    write_card(tmp_path, "a.md")
    copy = tmp_path / "copy" / "installer.sqlite3"
    copy.parent.mkdir()
    async with running(tmp_path) as service, aiohttp.ClientSession() as http:
        job_ids = [await install(http, service.url) for _ in range(5)]
        # What comes in meanwhile is either in the copy as a whole or not at all.
        beside = asyncio.create_task(installs(http, service.url, 30))
        await asyncio.to_thread(back_up, tool, tmp_path / "installer.sqlite3", copy)
        later = await beside
        async with http.get(f"{service.url}/readyz") as response:
            assert response.status == 200
    with sqlite3.connect(copy) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        counts = dict(connection.execute("select job_id, count(*) from events group by job_id").fetchall())
        rows = {row[0] for row in connection.execute("select job_id from jobs")}
    connection.close()
    assert set(job_ids) <= rows == set(counts) <= {*job_ids, *later}
    (tmp_path / "copy/resources").symlink_to(tmp_path / "resources")
    async with running(tmp_path / "copy") as restored, aiohttp.ClientSession() as http:
        for job_id in job_ids:
            async with http.get(f"{restored.url}/resources/jobs/{job_id}/events") as response:
                found = (await response.json())["events"]
            assert [event["sequence"] for event in found] == list(range(1, len(found) + 1))
            assert found[0]["type"] == "job_queued"


async def installs(http: aiohttp.ClientSession, url: str, count: int) -> list[str]:
    return [await install(http, url) for _ in range(count)]


def back_up(tool: str, source: Path, target: Path) -> None:
    statement = BACKUP_COMMAND.format(target)
    if tool == "sqlite3":
        subprocess.run(["sqlite3", "-readonly", source, statement], check=True, timeout=60, capture_output=True)
        return
    connection = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    connection.execute(statement)
    connection.close()


def test_the_page_backs_up_in_this_way() -> None:
    text = page("docs/deploying.md")
    told = BACKUP.findall(text)
    assert len(told) == text.count("$ sqlite3 ") == 1
    for _, statement in told:
        assert re.fullmatch(re.escape(BACKUP_COMMAND).replace(r"\{\}", "[^']+"), statement)


@asynccontextmanager
async def nginx_before(service: Service, folder: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """A real nginx with the configuration that is delivered, but for its ports and its certificate."""
    assert NGINX is not None
    authority, port, plain = trustme.CA(), free_port(), free_port()
    certificate = authority.issue_cert("127.0.0.1", NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    site = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    site = re.sub(r"^\s*listen \[::\].*\n", "", site, flags=re.MULTILINE)
    site = re.sub(r"/etc/letsencrypt/\S+(?=;)", str(folder / "both.pem"), site)
    site = site.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace(
        "listen 80", f"listen 127.0.0.1:{plain}"
    )
    site = site.replace("server 127.0.0.1:5000", f"server {service.url.removeprefix('http://')}")
    paths = "".join(
        f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder / 'nginx.pid'}; error_log {folder / 'error.log'};\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{site}}}\n",
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"
    )
    try:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        await listening(port, process)
        yield f"https://127.0.0.1:{port}", context
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "nginx refused its configuration"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_behind_nginx(tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    settings: dict[str, Any] = {"api_token": TOKEN, "allowed_hosts": (NAME,), "private_targets": True}
    headers = {"Host": NAME, "Origin": f"https://{NAME}", "Authorization": f"Bearer {TOKEN}"}
    (tmp_path / "nginx").mkdir()
    async with running(tmp_path, **settings) as service, nginx_before(service, tmp_path / "nginx") as (url, context):
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as http:
            async with http.get(f"{url}/resources", headers={"Host": NAME}) as response:
                assert response.status == 401
            async with http.get(f"{url}/resources", headers={**headers, "Host": "other.example"}) as response:
                assert response.status == 403
            async with http.get(f"{url}/metrics", headers=headers) as response:
                assert response.status == 200
            job_id = await install(http, url, **headers)
            path = f"{url}/resources/jobs/{job_id}/events"
            seen: list[dict[str, Any]] = []
            client = socketio.AsyncClient(http_session=http, reconnection=False)
            for name in ("status", "error"):
                client.on(f"resource_install_{name}", seen.append, namespace=NAMESPACE)
            await connect(client, url, headers=headers, auth={"token": TOKEN}, transports=["websocket"])
            assert (await client.call("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE))["success"]
            # Over server-sent events the first event comes while the job still runs, so nothing is held back.
            async with http.get(path, headers={**headers, "Accept": "text/event-stream"}) as stream:
                first = await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 60)
                assert first.startswith(b"id: 1\n")
                async with http.post(f"{url}/resources/jobs/{job_id}/cancel", headers=headers) as response:
                    assert response.status == 202
                rest = await asyncio.wait_for(stream.content.read(), 60)
            await until(lambda: seen and seen[-1]["type"] == "job_cancelled")
            streamed = [json.loads(line[6:]) for line in (first + rest).decode().splitlines() if line[:6] == "data: "]
            assert streamed == seen
            await client.disconnect()


def test_a_service_leaves_optional_packages_out_of_its_memory() -> None:
    program = """
import sys, uvloop
sys.argv = ["resource-installer", "serve"]
from service.__main__ import cli
def ran(main):
    main.close()
    from service.store.database import database_of
    database_of("sqlite+aiosqlite:////nowhere/log.sqlite3")
    database_of("postgresql+psycopg://somebody@127.0.0.1:9/nowhere")
    print("loaded:", *sorted({"requests", "rich", "sqlalchemy.orm"} & set(sys.modules)), sep="")
uvloop.run = ran
cli(standalone_mode=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout == "loaded:\n"
