"""(c) From the remote byte to the client: jobs that draw ten bars a second, each over its own SSH connection to a real
sshd, each bar carrying the time at which it was drawn.

What counts is every bar that was drawn within one span of time, as the logs on the instance have it, and when each
client got it. The clients are processes of their own, so that measuring and serving share no event loop. All instances
are one machine, whose limit of inotify instances is raised meanwhile (see inotify.py): where some tails have to do
without, the table says how many, and no goal is held against them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks.drawer import BARS_A_SECOND, drawing, drawn_at
from benchmarks.inotify import SERVICE_LOOKS, one_for_each, without_inotify
from benchmarks.latency_clients import Clients, Sample, clients_of
from benchmarks.memory import resident_megabytes
from benchmarks.scratch import scratch
from benchmarks.table import Row, median
from tests.kit.service import ServiceProcess, until
from tests.kit.sshd import USER, Sshd

# Of ten bars a second an attempt keeps an hour's.
DRAWING_SECONDS_MAX = 3_600
SETTLE_SECONDS = 2.0
RECORDERS_SECONDS = 0.5
ONE_PROCESS_DELIVERIES_MAX = 1_000
GROWTH_MAX = 2.0
DRAWN_SHARE = 0.05

# On two cores, five hundred logins and what each starts there take minutes.
START_SECONDS_MAX = 900
# The attempts only live on: drawer.py draws for them.
CARD = f"exec sleep {DRAWING_SECONDS_MAX}"
# The main thread of the service, whose event loop it is.
LOOP = "its event loop"


class Case(NamedTuple):
    """``p99_ms``: the goal."""

    jobs: int
    clients: int
    p99_ms: float | None


class Drawn(NamedTuple):
    """Jobs that draw: their attempts' logs, and the process that draws into them."""

    ids: list[str]
    logs: list[Path]
    drawer: int


class Measured(NamedTuple):
    """The samples of a span of time, how many bars were drawn in it, how many cores were busy with what, and the memory
    of the process that served it. ``polling``: the instances whose tail looks at its log from time to time (see
    inotify.py)."""

    samples: list[Sample]
    bars: int
    cores: dict[str, float]
    polling: int = 0
    megabytes: float = 0.0


QUICK = (Case(20, 1, 10.0),)
FULL = (Case(1, 1, None), Case(20, 1, 10.0), Case(100, 1, 25.0), Case(100, 5, 40.0), Case(300, 1, 500.0))


async def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for case in QUICK if quick else FULL:
        rows += await measure(case, seconds=3 if quick else 15)
    return rows


async def measure(case: Case, seconds: int) -> list[Row]:
    with scratch() as folder, one_for_each(case.jobs):
        measured = await drawn_and_received(folder, case, seconds)
    name = f"(c) latency, {case.jobs} jobs" + (f" x {case.clients} clients" if case.clients > 1 else "")
    found = sorted(sample.seconds for sample in measured.samples)
    p50, p99 = (found[int(len(found) * part)] * 1000 for part in (0.5, 0.99))
    first, last = thirds(measured.samples)
    missing = measured.bars * case.clients - len(found)
    drawn = measured.bars / (case.jobs * BARS_A_SECOND * seconds)
    cores = f"cores of {os.cpu_count()}"
    return [
        *polling_rows(name, case.jobs, measured.polling, SERVICE_LOOKS),
        Row(name=f"{name}, p50 of {len(found):,}", value=p50, unit="ms"),
        goal(f"{name}, p99", p99, "ms", f"<= {case.p99_ms:g}", p99 <= case.p99_ms)
        if case.p99_ms is not None and not measured.polling
        else Row(name=f"{name}, p99", value=p99, unit="ms"),
        goal(f"{name}, p50 last by first third", last / first, "", f"<= {GROWTH_MAX:g}", last <= GROWTH_MAX * first),
        goal(f"{name}, bars drawn of due", drawn, "", f"1 ± {DRAWN_SHARE:g}", abs(drawn - 1) <= DRAWN_SHARE),
        goal(f"{name}, bars never received", missing, "", "0", missing == 0),
        *(Row(name=f"{name}, {what}", value=busy, unit=cores) for what, busy in measured.cores.items()),
    ]


def polling_rows(name: str, jobs: int, polling: int, looks: str) -> list[Row]:
    """The warning that the latency is that of polling tails; nothing where no tail polls."""
    if not polling:
        return []
    warning = f"{name}: tails that look {looks}, so that their latency is that interval"
    return [Row(name=warning, value=polling, unit=f"of {jobs}")]


def goal(name: str, value: float, unit: str, text: str, holds: bool) -> Row:
    return Row(name=name, value=value, unit=unit, goal=text, holds=holds)


def thirds(samples: Sequence[Sample]) -> tuple[float, float]:
    """The medians of the first and of the last third of the span: what waits in a queue that grows waits longer."""
    in_order = [sample.seconds for sample in sorted(samples)]
    third = len(in_order) // 3
    return median(in_order[:third]), median(in_order[-third:])


async def drawn_and_received(folder: Path, case: Case, seconds: int) -> Measured:
    sshd, service = await instance_and_service(folder, case.jobs)
    try:
        await service.start()
        async with drawing_jobs(service, sshd, case.jobs) as drawn:
            return await watched(sshd, service.url, service.pid, drawn, case.clients, seconds)
    finally:
        await service.kill()
        await sshd.close()


async def instance_and_service(folder: Path, jobs: int) -> tuple[Sshd, ServiceProcess]:
    """An instance, which is started, and a service for so many jobs at once, which is not."""
    (folder / "resources").mkdir()
    card = f"---\ntitle: A\ninstalls: nothing\n---\n# Download\n```bash\n{CARD}\n```\n"
    (folder / "resources/a.md").write_text(card, encoding="utf-8")
    sshd = await Sshd(folder, listen="0.0.0.0").start()
    return sshd, ServiceProcess(folder, service_settings(folder, sshd, jobs))


def service_settings(folder: Path, sshd: Sshd, jobs: int) -> dict[str, str]:
    return {
        "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'log.sqlite3'}",
        "INSTALLER_RESOURCES_DIR": str(folder / "resources"),
        "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
        "INSTALLER_SSH_KEY": str(sshd.key_path),
        "INSTALLER_SSH_USER": USER,
        "INSTALLER_MAX_CONCURRENT_JOBS": str(jobs),
        # It looks at the processes of its machine: three hundred instances on one would only see each other.
        "INSTALLER_STALL_TIMEOUT": "0",
    }


def host(number: int) -> str:
    """Each job has an instance of its own, as far as the service can see."""
    return f"127.0.{number // 250}.{number % 250 + 1}"


@asynccontextmanager
async def drawing_jobs(service: ServiceProcess, sshd: Sshd, jobs: int) -> AsyncIterator[Drawn]:
    """Jobs that all draw within the block, from the moment on when the last of them could: while some draw, the logins
    of the others would take many times as long."""
    ids, mine = await start_all(service, sshd, jobs)
    async with drawing(mine) as drawer:
        yield Drawn(ids, mine, drawer)


async def start_all(service: ServiceProcess, sshd: Sshd, jobs: int) -> tuple[list[str], list[Path]]:
    """The jobs, and their logs once each has one."""
    before = set(logs(sshd.home))
    # The service may close a connection at the very moment when it would be used again.
    connector = aiohttp.TCPConnector(force_close=True)
    async with without_recorders(sshd.home), aiohttp.ClientSession(connector=connector) as http:
        ids = [await start(http, service.url, host(n), sshd.port) for n in range(jobs)]
        await until(lambda: len(logs(sshd.home)) == len(before) + jobs, START_SECONDS_MAX, every=0.5)
    return ids, sorted(set(logs(sshd.home)) - before)


async def watched(sshd: Sshd, url: str, pid: int, drawn: Drawn, clients: int, seconds: int) -> Measured:
    """What so many clients of each job receive within a span of time from the process that serves them."""
    processes = 1 if len(drawn.ids) * clients * BARS_A_SECOND <= ONE_PROCESS_DELIVERIES_MAX else 2
    async with clients_of(url, drawn.ids, clients, processes) as watching:
        async with without_recorders(sshd.home):
            await watching.all_draw()
            await asyncio.sleep(SETTLE_SECONDS)
        return await span(sshd, pid, watching, drawn, seconds)


@asynccontextmanager
async def without_recorders(home: Path) -> AsyncIterator[None]:
    """What records how far an attempt's files are looks at the processes of its machine once a second: hundreds of
    instances on one machine would only look at each other."""
    stopping = asyncio.create_task(_stop_recorders(home))
    try:
        yield
    finally:
        stopping.cancel()


async def _stop_recorders(home: Path) -> None:
    while True:
        for path in home.glob(".local/state/resource-installer/*/*/helpers"):
            # The watchdog, and once it has begun, the recorder.
            helpers = path.read_text(encoding="utf-8").split()
            path.unlink()
            for helper in helpers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(helper), signal.SIGKILL)
        await asyncio.sleep(RECORDERS_SECONDS)


async def span(sshd: Sshd, pid: int, clients: Clients, drawn: Drawn, seconds: int) -> Measured:
    instance = [*processes_in(sshd.home), *sshd.sessions()]
    who = {
        "what draws": lambda: busy_seconds([drawn.drawer]),
        "sshd and the followers": lambda: busy_seconds(instance),
        "the service": lambda: busy_seconds([pid]),
        LOOP: lambda: busy_seconds([pid], thread=str(pid)),
        "the clients": lambda: busy_seconds(clients.pids),
        "the whole machine": machine_busy_seconds,
    }
    since, before = time.time(), {name: busy() for name, busy in who.items()}
    # Reading the times of this many processes keeps a core busy for a fraction of a second: the span begins after it.
    await asyncio.sleep(SETTLE_SECONDS)
    begin = time.time()
    end = begin + seconds
    await asyncio.sleep(seconds)
    until = time.time()
    cores = {name: (busy() - before[name]) / (until - since) for name, busy in who.items()}
    samples = await clients.samples(begin, end)
    bars = sum(begin <= at < end for log in drawn.logs for at in drawn_at(log))
    return Measured(samples, bars, cores, without_inotify(instance), resident_megabytes(pid))


async def start(http: aiohttp.ClientSession, url: str, host: str, port: int) -> str:
    body = {"ssh_host": host, "ssh_port": port, "ui_home": "/ui", "resources": ["a.md"]}
    async with http.post(f"{url}/resources/install", json=body) as response:
        return str((await response.json())["job_id"])


def logs(home: Path) -> list[Path]:
    return list((home / ".local/state/resource-installer").glob("*/*/log"))


def processes_in(home: Path) -> list[int]:
    """Those that were started in this home: the cards, their supervisors, and who follows their logs."""
    mark = f"HOME={home}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def busy_seconds(pids: Iterable[int], thread: str = "*") -> float:
    """The processor time of all threads of these processes, or of one; of one that has ended, nothing."""
    nanoseconds = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob(f"{thread}/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(path.read_text(encoding="utf-8").split()[0])
    return nanoseconds / 1e9


def machine_busy_seconds() -> float:
    """The processor time of everything: a machine that others use as well shows it here."""
    first = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0]
    user, nice, system, _idle, _waiting, irq, softirq, steal = (int(word) for word in first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
