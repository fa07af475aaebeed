"""Appended before broadcast, as the kernel sees it: a sync of the log lies between each write and the first send."""

from __future__ import annotations

import re
import shutil
import sys

from tests.e2e.conftest import World
from tests.kit.service import Watcher, until

EVENTS = 100
CALL = re.compile(r"^(?P<pid>\d+) +(?P<at>[\d.]+) (?P<call>\w+)\((?P<fd>\d+)<(?P<path>[^>]*)>(?P<rest>.*)$")


async def test_a_sync_lies_between_each_append_and_its_first_send(world: World) -> None:
    await world.service.terminate()
    trace = world.folder / "trace"
    strace = shutil.which("strace")
    assert strace is not None
    command = [
        strace,
        "-D",
        "-f",
        "-ttt",
        "-yy",
        "-s",
        "65536",
        "-e",
        "trace=write,writev,pwrite64,fdatasync,fsync,sendto,sendmsg",
    ]
    await world.service.start_under([*command, "-o", str(trace), sys.executable])
    script = "\n".join(["for n in $(seq 1 100); do", '  echo "mark-$n-end"', "  sleep 0.02", "done"])
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/lines.md", script))
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await watcher.end()
    await watcher.leave()
    pid = world.service.pid
    await world.service.terminate()
    # The tracer writes for a moment longer: its last line is the end of the service.
    end = re.compile(rf"^{pid} .*\+\+\+ exited with 0 \+\+\+$", re.MULTILINE)
    await until(lambda: end.search(trace.read_text(encoding="utf-8", errors="replace")), every=0.2)
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    synced = 0
    appended: dict[str, int] = {}
    sent: dict[str, int] = {}
    syncs: list[int] = []
    for number, line in enumerate(lines):
        found = CALL.match(line)
        if found is None:
            continue
        is_log = found["path"].endswith("-wal")
        if found["call"] in ("fdatasync", "fsync") and is_log:
            syncs.append(number)
            synced += 1
        for mark in re.findall(r"mark-(\d+)-end", found["rest"]):
            if is_log:
                appended.setdefault(mark, number)
            elif found["path"].startswith("TCP") and "resource_install_output" in found["rest"]:
                sent.setdefault(mark, number)
    marks = [str(n) for n in range(1, EVENTS + 1)]
    assert sorted(appended, key=int) == marks
    assert sorted(sent, key=int) == marks
    for mark in marks:
        assert any(appended[mark] < sync < sent[mark] for sync in syncs), mark
    print(f"{EVENTS} events, {synced} syncs of the write-ahead log")
