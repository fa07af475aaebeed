"""Makes the collection again: ``python -m tests.failures.collect`` runs the real tools into real failures.

Each log is what the tool wrote into a file; beside it ``labels.json`` says the exit status and the truth: the cause,
and whether another attempt can succeed although nobody changes anything. The labels are a person's, not the program's:
they are written down here before anything is run.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from aiohttp import web

from service.demo.civitai import StandInCivitai, StandInModel
from service.runner.instance.attempt_program import civitdl_config

FOLDER = Path(__file__).parent / "logs"
LABELS = Path(__file__).parent / "labels.json"
SECONDS_MAX = 60

# What a status means, and whether waiting helps.
STATUSES = {
    401: ("auth_required", False),
    403: ("forbidden", False),
    404: ("not_found", False),
    410: ("not_found", False),
    429: ("rate_limited", True),
    500: ("server_error", True),
    502: ("server_error", True),
    503: ("server_error", True),
}
TOOLS = {
    "wget": "wget --progress=bar:force:noscroll --tries=1 --no-check-certificate -O {out} {url}",
    "curl": "curl -fLk -o {out} {url}",
    "aria2c": "aria2c --max-tries=1 --check-certificate=false --summary-interval=1 -d {folder} -o x {url}",
}
STRICT = {
    "wget": "wget --tries=1 -O {out} {url}",
    "curl": "curl -fL -o {out} {url}",
    "aria2c": "aria2c --max-tries=1 -d {folder} -o x {url}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``command`` is run by bash in an empty folder."""

    name: str
    command: str
    cause: str
    heals: bool


def cases(http: str, https: str, full: Path) -> Iterator[Case]:
    for tool, template in TOOLS.items():
        for status, (cause, heals) in STATUSES.items():
            command = template.format(out="x", folder=".", url=f"{http}/{status}")
            yield Case(name=f"{tool}-{status}", command=command, cause=cause, heals=heals)
        for name, url, cause in (
            ("dns", "http://no-such-host.invalid/x", "dns"),
            ("refused", "http://127.0.0.1:9/x", "network"),
            ("drop", f"{http}/drop", "network"),
        ):
            command = template.format(out="x", folder=".", url=url)
            yield Case(name=f"{tool}-{name}", command=command, cause=cause, heals=True)
        tls = STRICT[tool].format(out="x", folder=".", url=f"{https}/ok")
        yield Case(name=f"{tool}-tls", command=tls, cause="tls", heals=False)
        space = template.format(out=full / "x", folder=full, url=f"{http}/big")
        yield Case(name=f"{tool}-disk-full", command=space, cause="disk_full", heals=False)
        nowhere = template.format(out="/proc/nowhere/x", folder="/proc/nowhere", url=f"{http}/ok")
        yield Case(name=f"{tool}-folder", command=nowhere, cause="permission", heals=False)
        killed = template.format(out="x", folder=".", url=f"{http}/slow")
        yield Case(
            name=f"{tool}-killed", command=f"{killed} & sleep 1; kill -9 $!; wait $!", cause="killed", heals=True
        )
        yield Case(
            name=f"{tool}-missing", command=f"PATH=/nowhere; {tool} {http}/ok", cause="tool_missing", heals=False
        )
    for n, status in enumerate((401, 403, 404, 429, 500)):
        cause, heals = STATUSES[status]
        yield Case(name=f"civitdl-{status}", command=f"civitdl {2001 + n} models", cause=cause, heals=heals)
    yield Case(name="civitdl-drop", command="civitdl 2011 models", cause="network", heals=True)
    yield Case(name="civitdl-disk-full", command=f"civitdl 2012 {full}/models", cause="disk_full", heals=False)
    refused = "HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 civitdl 2012 models"
    yield Case(name="civitdl-no-proxy", command=refused, cause="network", heals=True)
    no_dns = "env -u HTTPS_PROXY -u https_proxy civitdl 2012 models"
    yield Case(name="civitdl-dns", command=no_dns, cause="dns", heals=True)
    no_trust = "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt civitdl 2012 models"
    yield Case(name="civitdl-tls", command=no_trust, cause="tls", heals=False)
    yield Case(name="civitdl-folder", command="civitdl 2012 /proc/nowhere", cause="permission", heals=False)
    yield Case(name="civitdl-missing", command="PATH=/nowhere; civitdl 1 x", cause="tool_missing", heals=False)
    yield Case(name="git-dns", command="git clone https://no-such-host.invalid/x.git", cause="dns", heals=True)
    yield Case(name="git-refused", command="git clone https://127.0.0.1:9/x.git", cause="network", heals=True)
    yield Case(name="git-404", command=f"git clone {http}/404/x.git", cause="not_found", heals=False)
    yield Case(name="git-tls", command=f"git clone {https}/x.git", cause="tls", heals=False)
    yield Case(name="git-folder", command=f"git clone {http}/ok /proc/x", cause="permission", heals=False)
    yield Case(name="python-module", command="python3 -m no_such_module", cause="tool_missing", heals=False)
    yield Case(name="python-memory", command="python3 -c 'raise MemoryError'", cause="killed", heals=True)
    fetch = "python3 -c \"import urllib.request as u; u.urlopen('{}')\""
    yield Case(name="python-404", command=fetch.format(f"{http}/404"), cause="not_found", heals=False)
    yield Case(name="python-dns", command=fetch.format("http://no-such-host.invalid/"), cause="dns", heals=True)
    yield Case(name="python-refused", command=fetch.format("http://127.0.0.1:9/"), cause="network", heals=True)
    yield Case(name="cp-disk-full", command=f"cp /dev/zero {full}/zero", cause="disk_full", heals=False)
    yield Case(name="mkdir-permission", command="mkdir /proc/x", cause="permission", heals=False)
    yield Case(name="bash-exit", command="echo something went wrong; exit 3", cause="unknown", heals=False)
    yield Case(name="bash-term", command="kill -TERM $$; sleep 1", cause="killed", heals=True)


async def answer(request: web.Request) -> web.StreamResponse:
    """A site with one page for each thing that can go wrong."""
    word = request.path.split("/")[1]
    if word.isdigit():
        headers = {"Retry-After": "30"} if word == "429" else {}
        headers |= {"WWW-Authenticate": "Bearer"} if word == "401" else {}
        return web.Response(status=int(word), headers=headers)
    response = web.StreamResponse()
    response.content_length = {"drop": 2_000_000, "big": 8_000_000, "slow": 50_000_000}.get(word, 1_000)
    await response.prepare(request)
    sent = 0
    while sent < (response.content_length or 0):
        if word == "drop" and sent >= 500_000 and request.transport is not None:
            request.transport.abort()
            return response
        size = min(100_000, (response.content_length or 0) - sent)
        await response.write(b"x" * size)
        sent += size
        await asyncio.sleep(0.1 if word == "slow" else 0)
    return response


async def serve(tls: ssl.SSLContext | None) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"


async def run(case: Case, folder: Path, env: dict[str, str]) -> int:
    folder.mkdir()
    with open(FOLDER / f"{case.name}.log", "wb") as log:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-e",
            "-o",
            "pipefail",
            "-c",
            case.command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        status = await asyncio.wait_for(process.wait(), SECONDS_MAX)
    return status if status >= 0 else 128 - status


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    labels = {}
    with TemporaryDirectory() as name:
        base = Path(name)
        full = base / "full"
        full.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], check=True)
        plain, http = await serve(None)
        secure, https = await serve(context)
        civitai = StandInCivitai(base / "civitai")
        await civitai.start()
        for n, status in enumerate((401, 403, 404, 429, 500)):
            civitai.add(StandInModel(id=2001 + n, name=f"Model {status}", status=status))
        civitai.add(StandInModel(id=2011, name="Dropped", size_bytes=2_000_000, drop_after_bytes=500_000))
        civitai.add(StandInModel(id=2012, name="Large", size_bytes=8_000_000))
        config = base / "config/civitdl"
        config.mkdir(parents=True)
        (config / "config.json").write_text(civitdl_config(""), encoding="utf-8")
        tools = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": name, "LANG": "C.UTF-8"}
        try:
            for n, case in enumerate(cases(http, https, full)):
                env = {**tools, **(civitai.env if case.name.startswith("civitdl") else {})}
                env |= {"XDG_CONFIG_HOME": str(base / "config"), "PYTHONUNBUFFERED": "1", "GIT_TERMINAL_PROMPT": "0"}
                status = await run(case, base / str(n), env)
                text = (FOLDER / f"{case.name}.log").read_bytes().replace(name.encode(), b"/data")
                for prefix in (sys.base_prefix, sys.prefix):
                    text = text.replace(prefix.encode(), b"/usr")
                (FOLDER / f"{case.name}.log").write_bytes(text)
                labels[case.name] = {"exit_code": status, "cause": case.cause, "heals": case.heals}
                print(case.name, status, shlex.quote(case.command)[:100])
        finally:
            subprocess.run(["umount", "-l", str(full)], check=True)
            await civitai.stop()
            await plain.cleanup()
            await secure.cleanup()
    LABELS.write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
