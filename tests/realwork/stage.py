"""Where the cases run: one service as a process, real OpenSSH servers, the site, a stand-in CivitAI; a job each."""

from __future__ import annotations

import asyncio
import fcntl
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.demo.civitai import StandInCivitai
from service.runner.instance.attempt_program import civitdl_config
from tests.kit.service import ServiceProcess, check_stream
from tests.kit.sshd import USER, Sshd
from tests.realwork.case import Case, Expect, filled
from tests.realwork.contents import Body
from tests.realwork.server import Site

CIVITAI_KEY = "the-civitai-key-of-the-user"
HF_TOKEN = "hf_TheTokenOfTheUser"
HF_VERSION = "2.4.0"
MAX_ATTEMPTS = 2
CONNECT_SECONDS = 25
ROOT = Path(__file__).parents[2]
PARTS = ("*.part", "*.part.*")
# What a service may leave beside a file after a failure, and never after a success.
BESIDE = (*PARTS, "*.aria2", "*.incomplete", "*.tmp")


@dataclass(slots=True)
class Seen:
    """What came of a case: the last job and its events, and every job's."""

    ui_home: Path
    jobs: list[dict[str, Any]] = field(default_factory=list)
    histories: list[list[dict[str, Any]]] = field(default_factory=list)
    fetched: int = 0
    seconds: float = 0.0

    @property
    def job(self) -> dict[str, Any]:
        return self.jobs[-1]

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.histories[-1]

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in types]

    def results(self) -> list[dict[str, Any]]:
        return list(self.events[-1].get("results", []))

    def files(self) -> dict[str, bytes]:
        """All files below ``models``, without folders that are hidden."""
        models = self.ui_home / "models"
        paths = [path.relative_to(models) for path in models.rglob("*") if path.is_file()]
        shown = [path for path in paths if not any(part.startswith(".") for part in path.parts[:-1])]
        return {str(path): (models / path).read_bytes() for path in sorted(shown)}


class Stage:
    """``start``, ``run`` cases, ``close``. Instances that differ are made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cards = folder / "cards"
        self.site = Site()
        self.civitai = StandInCivitai(folder / "civitai")
        self.service: ServiceProcess
        self.instance: Sshd
        self._instances: dict[str, Sshd] = {}

    async def start(self) -> Stage:
        self.cards.mkdir()
        self.site.start()
        await self.civitai.start()
        self.instance = await self.instance_for({}, {}, hf=False)
        self.service = self.new_service(self.folder)
        await self.service.start()
        return self

    def new_service(self, folder: Path, **settings: str) -> ServiceProcess:
        """A service on these cards with a log of its own below ``folder``."""
        usual = {
            "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}",
            "INSTALLER_RESOURCES_DIR": str(self.cards),
            "INSTALLER_SSH_USER": USER,
            "INSTALLER_SSH_KEY": str(self.instance.key_path),
            "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
            "INSTALLER_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            "INSTALLER_RETRY_DELAY": "0.2",
            "INSTALLER_CONNECT_TIMEOUT": str(CONNECT_SECONDS),
            "INSTALLER_CIVITAI_API_KEY": CIVITAI_KEY,
            "INSTALLER_HF_TOKEN": HF_TOKEN,
        }
        return ServiceProcess(folder, {**usual, **settings})

    async def close(self) -> None:
        """All that was started, however far the start came."""
        if hasattr(self, "service") and self.service.has_started:
            await self.service.kill()
        for instance in self._instances.values():
            await instance.close()
        await self.civitai.stop()
        self.site.stop()

    async def instance_for(self, env: Mapping[str, str], tools: Mapping[str, str], *, hf: bool) -> Sshd:
        """An instance whose sessions have this environment and these programs; the same one for the same wishes."""
        key = json.dumps([dict(env), dict(tools), hf])
        if key not in self._instances:
            self._instances[key] = await self.new_instance(f"instance-{len(self._instances)}", env, tools, hf=hf)
        return self._instances[key]

    async def new_instance(
        self, name: str, env: Mapping[str, str], tools: Mapping[str, str], *, hf: bool = False, **options: Any
    ) -> Sshd:
        folder = self.folder / name
        bin_folder = folder / "bin"
        bin_folder.mkdir(parents=True)
        for tool, program in tools.items():
            (bin_folder / tool).symlink_to(program)
        if hf:
            add_hf(bin_folder)
        home = folder / "home"
        path = f"{bin_folder}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        loopback = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", "PATH": path}
        given = {name: value.replace("{home}", str(home)) for name, value in env.items()}
        instance = Sshd(folder, env={**self.civitai.env, **loopback, **given}, **options)
        if hasattr(self, "instance"):
            shutil.copy(self.instance.folder / "authorized_keys", folder / "authorized_keys")
        config = home / ".config/civitdl/config.json"
        config.parent.mkdir(parents=True)
        config.write_text(civitdl_config("", retry_count=1, pause_seconds=0.1), encoding="utf-8")
        return await instance.start()

    def new_ui_home(self, name: str) -> Path:
        """A folder that looks like ComfyUI."""
        ui_home = self.folder / "ui" / name / "ComfyUI"
        (ui_home / "models/loras").mkdir(parents=True)
        (ui_home / "main.py").write_text("# ComfyUI\n", encoding="utf-8")
        return ui_home

    def write_card(self, folder: str, path: str, text: str, site_name: str) -> str:
        """Returns the card's path in the library."""
        file = self.cards / folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        urls = {"site": self.site.url(site_name), "tls": self.site.url(site_name, tls=True)}
        file.write_text(filled(text, cards=folder, **urls), encoding="utf-8")
        return f"{folder}/{path}"

    async def run(self, case: Case) -> Seen:
        """Everything that the case asks for, to the end of its last job."""
        name = slug(case.id)
        for card in case.all_cards():
            self.write_card(name, card.path, card.whole_text(), name)
        wanted = case.request.get("resources", [card.path for card in case.all_cards()])
        request = {key: value for key, value in case.request.items() if key != "resources"}
        instance = await self.instance_for(case.env, case.tools, hf=case.hf)
        seen = Seen(ui_home=self.new_ui_home(name))
        self.civitai.add(*case.models)
        for path, data in case.there.items():
            (seen.ui_home / path).parent.mkdir(parents=True, exist_ok=True)
            (seen.ui_home / path).write_bytes(data)
        for path, text in case.home.items():
            (instance.home / path).write_text(filled(text, site=self.site.url(name)), encoding="utf-8")
        begin = time.monotonic()
        try:
            for how in case.jobs:
                more = {**request, **({"reinstall": True} if how == "reinstall" else {})}
                job_id = await self.begin(how, instance, seen, [f"{name}/{path}" for path in wanted], more)
                await self.until_ended(seen, job_id, case.seconds)
                instance.kill_marked(job_id=job_id)
        finally:
            for path in case.home:
                (instance.home / path).unlink(missing_ok=True)
        seen.seconds = time.monotonic() - begin
        seen.fetched = self.site.sent(name)
        return seen

    async def begin(self, how: str, instance: Sshd, seen: Seen, paths: list[str], more: Mapping[str, Any]) -> str:
        if how == "retry":
            status, answer = await self.service.post(f"/resources/jobs/{seen.job['job_id']}/retry", {})
            assert status == 202, answer
            return str(answer["job_id"])
        body = {"ssh_host": "127.0.0.1", "ssh_port": instance.port, "ui_home": str(seen.ui_home), "resources": paths}
        status, answer = await self.service.post("/resources/install", {**body, **more})
        assert status == 202, answer
        return str(answer["job_id"])

    async def until_ended(self, seen: Seen, job_id: str, seconds: float, service: ServiceProcess | None = None) -> None:
        """Add the job, once it has ended. One that does not end is a failed case, and is cancelled for the next."""
        service = service or self.service
        try:
            job = await service.ended(job_id, seconds)
        except TimeoutError:
            await service.post(f"/resources/jobs/{job_id}/cancel", {})
            raise AssertionError(f"the job did not end within {seconds} s") from None
        history = await service.history(job_id)
        check_stream(history)
        seen.jobs.append(job)
        seen.histories.append(history)


def slug(case_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", case_id)


def check(expect: Expect, seen: Seen) -> None:
    """AssertionError with everything that is not as it should be."""
    problems = list(problems_of(expect, seen))
    if problems:
        lines = [event["line"] for event in seen.of("output")]
        raise AssertionError(
            "\n".join([*problems, f"results: {seen.results()}", *[f"| {line}" for line in lines[-15:]]])
        )


def problems_of(expect: Expect, seen: Seen) -> Iterator[str]:
    if seen.job["state"] != expect.state:
        yield f"the job is {seen.job['state']} instead of {expect.state}"
    yield from _file_problems(expect, seen)
    yield from _word_problems(expect, seen)
    for part in expect.events:
        if not any(matches(event, part) for event in seen.events):
            yield f"no event is like {part}"
    for part in expect.no_events:
        found = next((event for event in seen.events if matches(event, part)), None)
        if found is not None:
            yield f"an event is like {part}: {found}"
    started = seen.of("resource_started")
    first = [event for event in started if event["resource"] == started[0]["resource"]]
    if expect.attempts is not None and len(first) != expect.attempts:
        yield f"{len(first)} attempts instead of {expect.attempts}"
    if expect.seconds is not None and seen.seconds > expect.seconds:
        yield f"it took {seen.seconds:.1f} s"
    names = {event["name"] for event in seen.of("stage_start")}
    if expect.names is not None and names != set(expect.names):
        yield f"the stages are named {sorted(names)} instead of {sorted(expect.names)}"


def _file_problems(expect: Expect, seen: Seen) -> Iterator[str]:
    wanted = {path: content_of(body) for path, body in expect.files.items()}
    found = seen.files()
    for path, body in wanted.items():
        if path not in found:
            yield f"{path} is missing; there is {sorted(found)}"
        elif found[path] != body:
            yield f"{path} is not the whole file: {len(found[path])} of {len(body)} bytes"
    allowed = expect.also if seen.job["state"] == "completed" else (*expect.also, *BESIDE)
    for path in set(found) - set(wanted):
        if not any(fnmatch.fnmatch(path, pattern) for pattern in allowed):
            yield f"{path} should not be there ({len(found[path])} bytes)"
    size = sum(len(body) for body in wanted.values())
    most, least = expect.fetched, expect.fetched_min
    if (most is not None and seen.fetched > size * most) or (least is not None and seen.fetched < size * least):
        yield f"{seen.fetched} bytes were fetched, {seen.fetched / size:.2f} times the files"


def content_of(body: Body | str | bytes) -> bytes:
    if isinstance(body, bytes):
        return body
    return (Body(name=body) if isinstance(body, str) else body).content()


def _word_problems(expect: Expect, seen: Seen) -> Iterator[str]:
    results = seen.results()
    causes = [result["cause"] for result in results]
    for cause, wanted in zip(causes, expect.causes or [], strict=False):
        if cause not in (wanted if isinstance(wanted, frozenset) else (wanted,)):
            yield f"the causes are {causes} instead of {expect.causes}"
    for word, wanted_texts, unwanted in (
        ("error", expect.error, expect.not_error),
        ("hint", expect.hint, expect.not_hint),
    ):
        said = "\n".join(str(result[word]) for result in results if result[word]).lower()
        yield from (f"the {word} does not say {text!r}: {said!r}" for text in wanted_texts if text.lower() not in said)
        yield from (f"the {word} says {text!r}: {said!r}" for text in unwanted if text.lower() in said)


def matches(event: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Whether the event has these fields. ``*``: the text stands in any of them; a callable is asked."""
    for name, value in part.items():
        if name == "*":
            if value.lower() not in json.dumps(event, ensure_ascii=False).lower():
                return False
        elif callable(value):
            if name not in event or not value(event[name]):
                return False
        elif event.get(name) != value:
            return False
    return True


def add_hf(folder: Path) -> None:
    """``hf``, and ``hf-python`` with its library, from a virtual environment that is built once and kept."""
    home = ROOT / f".build/hf-{HF_VERSION}"
    home.parent.mkdir(exist_ok=True)
    with open(home.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            venv.create(home, with_pip=True, clear=True)
            pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*pip, f"huggingface_hub=={HF_VERSION}"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"huggingface_hub cannot be installed here: {done.stderr[-200:]}")
            (home / "ready").touch()
    (folder / "hf").symlink_to(home / "bin/hf")
    (folder / "hf-python").write_text(f'#!/bin/sh\nexec "{home}/bin/python" "$@"\n', encoding="utf-8")
    (folder / "hf-python").chmod(0o755)


async def wait_for_bytes(site: Site, case: str, count: int, seconds: float = 30) -> None:
    """Until the site has sent this many bytes of files."""
    async with asyncio.timeout(seconds):
        while site.sent(case) < count:
            await asyncio.sleep(0.01)


def tool_processes(instance: Sshd, tool: str, job_id: str = "") -> list[int]:
    """The processes of this tool itself, not of a shell that stands before it."""
    shells = ("bash", "sh", "dash", "busybox")
    found = instance.marked_processes(tool, job_id=job_id)
    return [pid for pid in found if _program(pid) not in shells or tool == "busybox"]


def _program(pid: int) -> str:
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return "sh"
