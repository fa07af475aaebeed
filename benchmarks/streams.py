"""(k) The same streams, followed by the service and by a bare asyncssh and python-socketio process, in turns.

The jobs draw on as long as the case lasts, whoever follows them: the service is killed after its turn and finds them
again in its next, and between its turns the bare process (see peers/bare_streams.py) follows the very same logs over
the same sshd. All instances are one machine, whose limit of inotify instances is raised meanwhile (see inotify.py):
where some tails of a case have to do without, the table says how many, and compares nothing.

``python -m benchmarks.streams [--jobs 300] [--clients 1] [--turns 3] [--against PATH]`` measures one case; PATH is
another checkout of this repository, whose service comes last.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import orjson
import uvloop

from benchmarks.drawer import BARS_A_SECOND
from benchmarks.inotify import BARE_LOOKS, SERVICE_LOOKS, one_for_each
from benchmarks.latency import (
    DRAWN_SHARE,
    GROWTH_MAX,
    LOOP,
    Measured,
    drawing_jobs,
    host,
    instance_and_service,
    logs,
    polling_rows,
    service_settings,
    thirds,
    watched,
)
from benchmarks.scratch import scratch
from benchmarks.table import Row, median, show
from tests.kit.service import ServiceProcess
from tests.kit.sshd import USER, Sshd

# Below this, half of a bar's interval, no queue grows: what differs is chance.
STEADY_SECONDS = 0.5 / BARS_A_SECOND
FOLLOWING_SECONDS_MAX = 600
# Of the p99, and of the loop's time an event.
BY_BEFORE = 0.1
LOOP_BY_BEFORE = 0.5
SERVICE, BARE, BEFORE = "the service", "bare", "the service before"


class Case(NamedTuple):
    """``by_bare``: the goal for the p99, by that of the bare process. ``megabytes``: the goal for the service."""

    jobs: int
    clients: int = 1
    by_bare: float | None = None
    megabytes: float | None = None

    @property
    def name(self) -> str:
        return f"(k) {self.jobs} installs" + (f" x {self.clients} clients" if self.clients > 1 else "")


class Turn(NamedTuple):
    """What was measured in one turn: milliseconds, and whether all that was drawn arrived and nothing unsent grew.
    ``polling``: how many tails look at their log from time to time: then these figures are the tails'."""

    p50: float
    p99: float
    sustained: bool
    cores: dict[str, float]
    polling: int = 0
    megabytes: float = 0.0


QUICK = (Case(20),)
FULL = (Case(20), Case(100), Case(100, 5), Case(300, by_bare=2.0, megabytes=160.0), Case(500, by_bare=3.0))


async def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    carried = dict.fromkeys((SERVICE, BARE), 0)
    for case in QUICK if quick else FULL:
        turns = await measure(case, turns=1 if quick else 3, seconds=3 if quick else 10)
        rows += case_rows(case, turns)
        for who in carried:
            if case.clients == 1 and all(turn.sustained and not turn.polling for turn in turns[who]):
                carried[who] = max(carried[who], case.jobs)
    return [*rows, beside("(k) sustained", "streams", carried[SERVICE], carried[BARE])]


async def measure(case: Case, *, turns: int, seconds: int, against: Path | None = None) -> dict[str, list[Turn]]:
    with scratch() as folder, one_for_each(case.jobs):
        sshd, service = await instance_and_service(folder, case.jobs)
        try:
            found = await by_turns(service, sshd, case, turns, seconds)
            if against is not None:
                sshd.kill_marked()
                found[BEFORE] = [await by_another(against, sshd, folder, case, seconds)]
        finally:
            await sshd.close()
    return found


async def by_turns(service: ServiceProcess, sshd: Sshd, case: Case, turns: int, seconds: int) -> dict[str, list[Turn]]:
    found: dict[str, list[Turn]] = {SERVICE: [], BARE: []}

    async def measured(who: str, url: str, pid: int) -> None:
        found[who].append(turn(case, seconds, await watched(sshd, url, pid, drawn, case.clients, seconds)))

    await service.start_under([sys.executable])
    try:
        async with drawing_jobs(service, sshd, case.jobs) as drawn:
            for number in range(turns):
                if number:
                    await service.start_under([sys.executable])
                await measured(SERVICE, service.url, service.pid)
                await service.kill()
                async with bare(sshd, drawn.ids) as (url, pid):
                    await measured(BARE, url, pid)
    finally:
        await service.kill()
    return found


async def by_another(checkout: Path, sshd: Sshd, folder: Path, case: Case, seconds: int) -> Turn:
    settings = {"INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'before.sqlite3'}"}
    service = ServiceProcess(folder, service_settings(folder, sshd, case.jobs) | settings)
    await service.start_under(["env", "-C", str(checkout), sys.executable])
    try:
        async with drawing_jobs(service, sshd, case.jobs) as drawn:
            return turn(case, seconds, await watched(sshd, service.url, service.pid, drawn, case.clients, seconds))
    finally:
        await service.kill()


@asynccontextmanager
async def bare(sshd: Sshd, ids: Sequence[str]) -> AsyncIterator[tuple[str, int]]:
    """The address and the process that follows the logs of these jobs."""
    found = {log.parts[-3]: log for log in logs(sshd.home)}
    streams = [(job_id, host(n), str(found[job_id])) for n, job_id in enumerate(ids)]
    wanted = {"port": sshd.port, "user": USER, "key": str(sshd.key_path), "streams": streams}
    pipe = subprocess.PIPE
    command = (sys.executable, "-m", "benchmarks.peers.bare_streams")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(wanted) + b"\n")
        async with asyncio.timeout(FOLLOWING_SECONDS_MAX):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise RuntimeError("the bare process follows nothing: its error is above")
        yield url, process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def turn(case: Case, seconds: int, measured: Measured) -> Turn:
    found = sorted(sample.seconds for sample in measured.samples)
    first, last = thirds(measured.samples)
    is_drawn = abs(measured.bars / (case.jobs * BARS_A_SECOND * seconds) - 1) <= DRAWN_SHARE
    is_whole = len(found) == measured.bars * case.clients
    p50, p99 = (found[int(len(found) * part)] * 1000 for part in (0.5, 0.99))
    is_steady = last <= max(GROWTH_MAX * first, STEADY_SECONDS)
    is_sustained = is_drawn and is_whole and is_steady
    return Turn(p50, p99, is_sustained, measured.cores, measured.polling, measured.megabytes)


def case_rows(case: Case, turns: dict[str, list[Turn]]) -> list[Row]:
    """The medians of the turns."""
    if any(turn.polling for found in turns.values() for turn in found):
        return [row for who, found in turns.items() for row in polled_rows(case, who, found)]
    ours, peers = turns[SERVICE], turns[BARE]

    def row(what: str, unit: str, of: Callable[[Turn], float], most: float | None = None) -> Row:
        return beside(f"{case.name}, {what}", unit, median(list(map(of, ours))), median(list(map(of, peers))), most)

    rows = [row("p50", "ms", lambda turn: turn.p50), row("p99", "ms", lambda turn: turn.p99, case.by_bare)]
    for name in ours[0].cores:
        rows.append(row(f"busy: {name}", "cores", lambda turn, name=name: turn.cores[name]))  # type: ignore[misc]
    rows.append(memory_row(case, ours, peers))
    loop = median([us_an_event(case, turn) for turn in ours])
    rows.append(beside(f"{case.name}, {LOOP} an event", "us", loop, median([us_an_event(case, t) for t in peers])))
    for before in turns.get(BEFORE, []):
        rows += [
            beside(f"{case.name}, p99", "ms", rows[1].value, before.p99, BY_BEFORE, BEFORE),
            beside(f"{case.name}, {LOOP} an event", "us", loop, us_an_event(case, before), LOOP_BY_BEFORE, BEFORE),
        ]
    return rows


def us_an_event(case: Case, turn: Turn) -> float:
    return turn.cores[LOOP] * 1e6 / (case.jobs * BARS_A_SECOND)


def memory_row(case: Case, ours: Sequence[Turn], peers: Sequence[Turn]) -> Row:
    """The most of all turns. The goal is in bytes: the peer keeps nothing."""
    megabytes, most = max(turn.megabytes for turn in ours), case.megabytes
    return Row(
        name=f"{case.name}, memory",
        value=megabytes,
        unit="MB",
        peer=BARE,
        peer_value=max(turn.megabytes for turn in peers),
        goal="" if most is None else f"<= {most:g} MB",
        holds=None if most is None else megabytes <= most,
    )


def polled_rows(case: Case, who: str, found: Sequence[Turn]) -> list[Row]:
    """The figures of a follower of which some tails poll: compared with nothing, and without a goal."""
    name = f"{case.name}, {who}"
    looks = BARE_LOOKS if who == BARE else SERVICE_LOOKS
    return [
        *polling_rows(name, case.jobs, max(turn.polling for turn in found), looks),
        Row(name=f"{name}, p50", value=median([turn.p50 for turn in found]), unit="ms"),
        Row(name=f"{name}, p99", value=median([turn.p99 for turn in found]), unit="ms"),
    ]


def beside(name: str, unit: str, value: float, peer: float, most: float | None = None, who: str = BARE) -> Row:
    """``most``: the goal for the ratio."""
    wanted = "" if most is None else f"<= {most:g}"
    holds = None if most is None else value <= most * peer
    return Row(name=name, value=value, unit=unit, peer=who, peer_value=peer, goal=wanted, holds=holds)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=300)
    arguments.add_argument("--clients", type=int, default=1)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=10)
    arguments.add_argument("--against", type=Path)
    given = arguments.parse_args()
    case = next((c for c in FULL if c[:2] == (given.jobs, given.clients)), Case(given.jobs, given.clients))
    turns = uvloop.run(measure(case, turns=given.turns, seconds=given.seconds, against=given.against))
    for who, found in turns.items():
        for each in found:
            cores = ", ".join(f"{name} {busy:.2f}" for name, busy in each.cores.items())
            figures = f"p50 {each.p50:.1f}, p99 {each.p99:.1f} ms, sustained: {each.sustained}, {each.megabytes:.0f} MB"
            print(f"{who}: {figures}, tails that look from time to time: {each.polling}; cores: {cores}")
    show(case_rows(case, turns))


if __name__ == "__main__":
    main()
