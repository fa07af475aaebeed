"""Makes the collection: ``python -m tests.failures.collect`` runs the real tools into real failures.

Each log is what the tool wrote into a file; beside it ``labels.json`` says the exit status and the truth, which is that
of `cases.py`. A case whose log is there is not run again, unless it is named: ``collect.py NAME …``. What cannot be
provoked here is in `written.py`, in the words of the tools.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import ssl
import subprocess
import sys
import venv
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

from service.demo.civitai import StandInCivitai, StandInModel
from service.runner.instance.attempt_program import civitdl_config
from tests.failures.cases import Case, Places, cases
from tests.failures.labels import label_of
from tests.failures.site import Site
from tests.failures.written import WRITTEN

FOLDER = Path(__file__).parent / "logs"
LABELS = Path(__file__).parent / "labels.json"
SECONDS_MAX = 60
PACKAGES = ("huggingface_hub==2.4.0", "requests")


def tools_at(folder: Path) -> Path:
    """The programs that are not on the PATH under the name that people call."""
    for name, program in (("busybox", "busybox"), ("wget2", "wget2")):
        (folder / name).mkdir(parents=True)
        (folder / name / "wget").symlink_to(shutil.which(program) or sys.exit(f"{program} is not installed"))
    venv.create(folder / "venv", with_pip=True)
    subprocess.run([folder / "venv/bin/python", "-m", "pip", "-q", "install", *PACKAGES], check=True)
    return folder


def context_of(authority: trustme.CA, begin: datetime | None = None, end: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=begin, not_after=end).configure_cert(context)
    return context


async def places_in(base: Path, site: Site) -> Places:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(base / "ca.pem"))
    now, day = datetime.now(UTC), timedelta(days=1)
    return Places(
        http=await site.start(),
        https=await site.start(context_of(authority)),
        early=await site.start(context_of(authority, now + day, now + 9 * day)),
        late=await site.start(context_of(authority, now - 9 * day, now - day)),
        authority=base / "ca.pem",
        full=base / "full",
        tools=tools_at(base / "tools"),
    )


async def civitai_in(base: Path) -> StandInCivitai:
    civitai = StandInCivitai(base / "civitai")
    await civitai.start()
    for n, status in enumerate((401, 403, 404, 429, 500)):
        civitai.add(StandInModel(id=2001 + n, name=f"Model {status}", status=status))
    civitai.add(StandInModel(id=2011, name="Dropped", size_bytes=2_000_000, drop_after_bytes=500_000))
    civitai.add(StandInModel(id=2012, name="Large", size_bytes=8_000_000))
    config = base / "config/civitdl"
    config.mkdir(parents=True)
    (config / "config.json").write_text(civitdl_config(""), encoding="utf-8")
    return civitai


async def run(case: Case, folder: Path, env: dict[str, str]) -> tuple[int, bytes]:
    folder.mkdir()
    with open(folder.with_suffix(".log"), "wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-e", "-o", "pipefail", "-c", case.command),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        status = await asyncio.wait_for(process.wait(), SECONDS_MAX)
    return status if status >= 0 else 128 - status, folder.with_suffix(".log").read_bytes()


def scrubbed(text: bytes, base: Path) -> bytes:
    """Without the paths of the machine."""
    text = text.replace(bytes(base / "tools"), b"/opt").replace(bytes(base), b"/workspace")
    for prefix in (sys.prefix, sys.base_prefix):
        text = text.replace(prefix.encode(), b"/usr")
    return re.sub(rb"/usr/lib/python3\.\d+", b"/usr/lib/python3", text)


async def main(names: set[str]) -> None:
    logging.disable()
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(TemporaryDirectory()))
        full = base / "full"
        full.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], check=True)
        stack.callback(subprocess.run, ["umount", "-l", str(full)], check=True)
        site = Site()
        stack.push_async_callback(site.stop)
        places = await places_in(base, site)
        civitai = await civitai_in(base)
        stack.push_async_callback(civitai.stop)
        tools = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(base), "LANG": "C.UTF-8"}
        tools |= {"XDG_CONFIG_HOME": str(base / "config"), "PYTHONUNBUFFERED": "1", "GIT_TERMINAL_PROMPT": "0"}
        tools |= {"PIP_CONFIG_FILE": "/dev/null"}
        for n, case in enumerate(cases(places)):
            log = FOLDER / f"{case.name}.log"
            if case.name in names or (not names and not log.exists()):
                env = {**tools, **(civitai.env if case.name.startswith("civitdl") else {})}
                for left in full.iterdir():
                    left.unlink() if left.is_file() else shutil.rmtree(left)
                status, text = await run(case, base / str(n), env)
                log.write_bytes(scrubbed(text, base))
                labels[case.name] = label_of(case, status)
                print(case.name, status, case.command[:100])
            elif case.name in labels:
                labels[case.name] = label_of(case, labels[case.name]["exit_code"])
    for told in WRITTEN:
        (FOLDER / f"{told.name}.log").write_bytes(told.text.encode())
        labels[told.name] = label_of(told, told.exit_code)
    LABELS.write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main(set(sys.argv[1:])))
