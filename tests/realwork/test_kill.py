"""A download killed in the middle: afterwards the file is whole, once, under its own name, and nothing half is left.

Each form of each tool, at three places, in four ways: by a signal to the tool, by one to the whole attempt, by a cut
link and a dead tool, by cancel and retry. The quick part kills each form once; the whole table is long, and one column
of it is measured on 64 MB at 4 MB/s.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

import pytest

from service.demo.civitai import StandInModel
from tests.realwork.case import Expect
from tests.realwork.cases.half_files import CIVITDL_ALSO, file_of
from tests.realwork.contents import Body
from tests.realwork.server import Download
from tests.realwork.stage import Seen, Stage, check, slug, tool_processes

pytestmark = pytest.mark.asyncio(loop_scope="session")

# How often the file's bytes may be fetched by a tool that can continue; hf 2.4.0 and civitdl cannot. aria2c writes down
# how far it is once a second at most: killed within its first seconds it may begin anew.
CONTINUED = 1.1
MEASURED_BYTES = 64_000_000
NAMED = "named=m.pth"
FORMS = {
    "wget-P": 'wget -P "$L" {url}',
    "wget-O": 'wget -O "$L/m.pth" {url}',
    "wget-c": 'wget -c -P "$L" {url}',
    "wget-nc": 'wget -nc -P "$L" {url}',
    "wget-disposition": 'wget --content-disposition -P "$L" {named}',
    "wget-q": 'wget -q -P "$L" {url}',
    "curl-o": 'curl -fL -o "$L/m.pth" {url}',
    "curl-O": 'cd "$L"; curl -fL -O {url}',
    "curl-OJ": 'cd "$L"; curl -fL -OJ {named}',
    "curl-C": 'curl -fL -C - -o "$L/m.pth" {url}',
    "aria2c": 'aria2c -d "$L" {url}',
    "aria2c-c": 'aria2c -c -d "$L" -o m.pth {url}',
    "aria2c-x4": 'aria2c -x4 -s4 -k1M -d "$L" {url}',
    "hf": 'HF_ENDPOINT={base} hf download owner/name m.pth --local-dir "$L"',
    "civitdl": 'civitdl {model} "$L"',
}
PLACES = (0.1, 0.5, 0.9)
SLOW_BEFORE = 0.2
SLOWER = 12
WAYS = ("tool", "attempt", "link", "cancel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    form: str
    place: float
    way: str
    size: int
    rate: int
    """Bytes a second of the file, whatever number of connections bring it."""

    @property
    def id(self) -> str:
        size = f"-{self.size // 1_000_000}MB" if self.size == MEASURED_BYTES else ""
        return f"kill.{self.form}-{self.place:.0%}-{self.way}{size}".replace("%", "")

    @property
    def tool(self) -> str:
        return self.form.partition("-")[0]

    @property
    def expect(self) -> Expect:
        body = Body(name="m.pth", size_bytes=self.size)
        if self.tool == "civitdl":
            return Expect(files=file_of(self.model()), also=CIVITDL_ALSO)
        is_bounded = self.tool in ("wget", "curl") or (self.tool == "aria2c" and self.size == MEASURED_BYTES)
        # At the first place, beginning anew must not look like going on.
        most = min(CONTINUED, 1 + 0.8 * self.place)
        return Expect(files={"loras/m.pth": body}, fetched=most if is_bounded else None)

    def model(self) -> StandInModel:
        number = 20_000 + sum(ord(letter) * n for n, letter in enumerate(self.id))
        return StandInModel(id=number, name="Killed", size_bytes=self.size, bytes_per_second=self.rate)

    @property
    def connections(self) -> int:
        return 4 if self.form == "aria2c-x4" else 1


def table() -> list[Any]:
    rows = []
    for form in FORMS:
        for place in PLACES:
            for way in WAYS:
                is_quick = place == 0.5 and (
                    way == "tool" or (way == "cancel" and form in ("wget-P", "curl-o", "aria2c"))
                )
                kill = Kill(
                    form=form, place=place, way=way, size=3_000_000, rate=1_000_000 if place == 0.9 else 3_000_000
                )
                rows.append((kill, is_quick))
        rows.append((Kill(form=form, place=0.5, way="tool", size=MEASURED_BYTES, rate=4_000_000), False))
    return [
        pytest.param(
            kill,
            id=kill.id,
            marks=[pytest.mark.realwork(kill.id), *([] if is_quick else [pytest.mark.long])],
        )
        for kill, is_quick in rows
    ]


async def has_come(stage: Stage, kill: Kill, model: StandInModel, case: str, job_id: str, seconds: float = 60) -> None:
    """Until so much of the file has been sent. civitdl's bars say it late: shortly before the place its download goes
    on slowly, so that a busy machine does not miss it."""
    async with asyncio.timeout(seconds):
        while True:
            if kill.tool == "civitdl":
                job = await stage.service.job(job_id)
                share = (job["resources"][0].get("percent") or 0) / 100 * (job["resources"][0].get("stage") == "model")
                if share >= kill.place - SLOW_BEFORE:
                    model.bytes_per_second = kill.rate // SLOWER
            else:
                share = stage.site.sent(case, "m.pth") / kill.size
                share = max(share, stage.site.sent(case, "9") / kill.size)
            if share >= kill.place:
                # Nearly held: on a busy machine it takes long to find the process that is to be killed.
                model.bytes_per_second = kill.rate // 50
                return
            await asyncio.sleep(0.01)


def end(pids: list[int]) -> int:
    ended = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            ended += 1
        except ProcessLookupError:
            continue
    return ended


@pytest.mark.parametrize("kill", table())
async def test_killed_in_the_middle(stage: Stage, kill: Kill) -> None:
    case = slug(kill.id)
    instance = await stage.instance_for({}, {}, hf=kill.tool == "hf")
    model = kill.model()
    stage.civitai.add(model)
    base = f"@/size={kill.size},rate={kill.rate // kill.connections}"
    script = FORMS[kill.form].format(url=f"{base}/m.pth", named=f'"{base},{NAMED}/99"', base=base, model=model.id)
    text = f"---\ntitle: Killed\n---\n# Download\n```bash\n{script}\n```\n"
    card = stage.write_card(case, "loras/card.md", text, case)
    seen = Seen(ui_home=stage.new_ui_home(case))
    begin = time.monotonic()
    job_id = await stage.service.install(instance, seen.ui_home, card)
    await has_come(stage, kill, model, case, job_id)
    if kill.way == "cancel":
        job_id = await cancelled_and_retried(stage, kill, seen, job_id)
    else:
        is_whole = kill.way == "attempt"
        pids = instance.marked_processes(job_id=job_id) if is_whole else tool_processes(instance, kill.tool, job_id)
        if kill.way == "link":
            instance.cut()
        if not end(pids):
            raise RuntimeError(f"no process of {kill.tool} was found")
    model.bytes_per_second = kill.rate
    await stage.until_ended(seen, job_id, 60 + 3 * kill.size / kill.rate)
    seen.fetched = stage.site.sent(case) if kill.tool == "aria2c" else received(stage.site.downloads(case))
    size = kill.size
    print(f"{kill.id}: {seen.fetched / size:.2f} times, {time.monotonic() - begin:.1f} s, {seen.job['state']}")
    check(kill.expect, seen)


def received(downloads: list[Download]) -> int:
    """The bytes that came through: what still lay in the sockets of a download that was ended is not received. Where
    a tool goes on from an offset, it had received all before it."""
    total = 0
    for n, download in enumerate(downloads, start=1):
        starts = [_start(one) for one in downloads[n:] if (one.range or "").endswith("-")]
        went_on = next((start for start in starts if start > _start(download)), None)
        is_open = download.range is None or download.range.endswith("-")
        total += download.sent if went_on is None or not is_open else min(download.sent, went_on - _start(download))
    return total


def _start(download: Download) -> int:
    return int(download.range.partition("=")[2].partition("-")[0]) if download.range else 0


async def cancelled_and_retried(stage: Stage, kill: Kill, seen: Seen, job_id: str) -> str:
    """Cancel, look at what is left, retry; returns the new job's id."""
    status, answer = await stage.service.post(f"/resources/jobs/{job_id}/cancel", {})
    assert status == 202, answer
    await stage.until_ended(seen, job_id, 40)
    left = seen.files()
    named = seen.events[-1].get("partial_files", [])
    status, answer = await stage.service.post(f"/resources/jobs/{job_id}/retry", {})
    assert status == 202, answer
    if kill.tool not in ("hf", "civitdl"):
        body = Body(name="m.pth", size_bytes=kill.size).content()
        if left.get("loras/m.pth") == body:
            return str(answer["job_id"])  # it was faster than the cancel
        assert "loras/m.pth" not in left, f"a half file is left at its final name: {sorted(left)}"
        assert any(name.endswith(".part") for name in named), f"partial_files names {named}; there is {sorted(left)}"
    return str(answer["job_id"])
