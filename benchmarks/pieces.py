"""(m) What one bar costs the event loop, by piece: microseconds of its thread, which a busy machine does not blur as it
does the seconds of a clock."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.drawer import BAR
from benchmarks.scratch import scratch
from benchmarks.store import bars, clock_ms, publish_nothing
from benchmarks.table import Row, median
from service.events.event_types import JobQueued, JobStarted, Progress, ResourceStarted
from service.events.fold import apply, fold
from service.events.job import Job
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent, RecordedEvent
from service.runner.eta import Eta, with_estimates
from service.store.append import Append, Statements
from service.store.database import Work, database_of
from service.store.database_sqlite import SqliteDatabase
from service.store.event_store import EventStore
from service.store.gate import Gate
from service.store.jobs import Jobs
from service.store.journal import Journal

BARS = 5_000
# A bar every 100 ms, as civitdl draws them.
BAR_SECONDS = 0.1
# The time of the first bar, which stands in it.
BEGIN = 1_764_000_000.0
CHUNK_BYTES = 4_096
APPENDS_A_COMMIT = 128
RESOURCE = "a.md"


async def run(quick: bool) -> list[Row]:
    repetitions = 3 if quick else 9
    with scratch() as folder:
        pieces = {name: cost(piece, repetitions) for name, piece in pieces_of(folder).items()}
    rows = [Row(name=f"(m) one bar, {name}", value=value, unit="us") for name, value in pieces.items()]
    drawn = [bar(number) for number in range(BARS)]
    parsed_alone = cost(lambda: parse_alone(drawn), repetitions)
    appended = median([await appended_us() for _ in range(repetitions)])
    return [
        *rows,
        Row(name="(m) one bar, all of these", value=sum(pieces.values()), unit="us"),
        Row(name="(m) one bar, parsed alone", value=parsed_alone, unit="us"),
        Row(name="(m) one bar, estimated in a stream", value=cost(estimate_a_stream(), repetitions), unit="us"),
        Row(name="(m) one bar, through the journal alone", value=appended, unit="us"),
    ]


async def appended_us() -> float:
    """Microseconds of an append through the whole journal, with its gate, fold and rows, without a database."""
    store = EventStore(NoDatabase())
    journal = Journal(store, Jobs(NoDatabase()), clock_ms=clock_ms, publish=publish_nothing)
    store.start()
    jobs = [a_running_job()._replace(job_id=f"{number:036d}") for number in range(APPENDS_A_COMMIT)]
    for job in jobs:
        journal._streams.keep(journal._streams.of(job.job_id), job)
    begin = time.thread_time()
    for number in range(BARS // APPENDS_A_COMMIT):
        await asyncio.gather(*(journal.append(job.job_id, bars(number, 1)) for job in jobs))
    return (time.thread_time() - begin) / (BARS // APPENDS_A_COMMIT * APPENDS_A_COMMIT) * 1e6


class NoDatabase(SqliteDatabase):
    """Prepares commits, and tells of them, without making them."""

    def __init__(self) -> None:
        super().__init__(make_url("sqlite+aiosqlite:///never-opened.sqlite3"))

    def commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        prepare()
        asyncio.get_running_loop().call_soon(settled, None)


def cost(piece: Callable[[], None], repetitions: int) -> float:
    """Microseconds a bar; the piece handles all BARS."""
    found = []
    gc.disable()
    for _ in range(repetitions):
        begin = time.thread_time()
        piece()
        found.append((time.thread_time() - begin) / BARS * 1e6)
    gc.enable()
    return median(found)


def parse_alone(drawn: list[bytes]) -> None:
    """Each bar in a read of its own, as a tool that draws ten a second is followed."""
    parser = ProgressParser(resource=RESOURCE, attempt=1)
    for read in drawn:
        parser.feed(read)


def pieces_of(folder: Path) -> dict[str, Callable[[], None]]:
    return {**pieces_of_the_runner(), **pieces_of_the_store(folder)}


def pieces_of_the_runner() -> dict[str, Callable[[], None]]:
    drawn = b"".join(bar(number) for number in range(BARS))

    def parse() -> None:
        parser = ProgressParser(resource=RESOURCE, attempt=1)
        for at in range(0, len(drawn), CHUNK_BYTES):
            parser.feed(drawn[at : at + CHUNK_BYTES])

    def estimate() -> None:
        eta = Eta({RESOURCE: 8_120_000})
        eta.start(RESOURCE)
        for number in range(BARS):
            now = number * BAR_SECONDS
            eta.observe(RESOURCE, now, 8_120_000 * number // BARS, 8_120_000, 1e6)
            eta.estimates(RESOURCE, now)

    return {"parsed": parse, "estimated": estimate}


def estimate_a_stream() -> Callable[[], None]:
    """The whole way of a bar from the parser to the append, as a job of one resource has it."""
    drawn = b"".join(b"\r" + (BAR % (BEGIN + number * BAR_SECONDS)).encode() for number in range(BARS))
    parsed = ProgressParser(resource=RESOURCE, attempt=1).feed(drawn + b"\n")
    stream = [new for new in parsed if isinstance(new.event, Progress)]
    assert len(stream) == BARS

    def estimate() -> None:
        eta = Eta({RESOURCE: None})
        eta.start(RESOURCE)
        for number, new in enumerate(stream):
            with_estimates(new, eta, number * BAR_SECONDS, is_measured=True)

    return estimate


def pieces_of_the_store(folder: Path) -> dict[str, Callable[[], None]]:
    job, gate = a_running_job(), Gate(["a-secret-of-the-service"])
    event, fields_json = gate(bars(0, 1)[0].event)
    recorded = [record(job, number, fields_json) for number in range(BARS)]
    after = apply(job, recorded[0], event)
    appends = [Append(before=job, after=after, events=[one]) for one in recorded]
    statements = Statements(database_of(f"sqlite+aiosqlite:///{folder / 'never-opened.sqlite3'}"))

    def pass_the_gate() -> None:
        for _ in range(BARS):
            gate(event)

    def fold_all() -> None:
        for one in recorded:
            apply(job, one, event)

    def make_rows() -> None:
        for first in range(0, BARS, APPENDS_A_COMMIT):
            statements.commit(appends[first : first + APPENDS_A_COMMIT])

    def encode() -> None:
        for one in recorded:
            one.to_json()

    return {
        "through the gate": pass_the_gate,
        "folded": fold_all,
        "as rows of a commit": make_rows,
        "encoded for all clients": encode,
    }


def bar(number: int) -> bytes:
    """Each is another one: what was read before helps little."""
    done = number / BARS
    middle = "█" * int(done * 10)
    seconds = int(number * BAR_SECONDS)
    clock = f"{seconds // 60:02d}:{seconds % 60:02d}"
    rate = f"{40 + number % 97 / 10:.1f}MiB/s"
    return f"\rModel: {done:4.0%}|{middle:<10}| {done * 8.12:.2f}G/8.12G [{clock}<09:59, {rate}]".encode()


def a_running_job() -> Job:
    resources = [{"resource": RESOURCE, "title": "A", "dependencies": []}]
    history = (
        NewEvent(event=JobQueued(ssh_host="h", ssh_port=22, ssh_user="root", ui_home="/ui", resources=resources)),
        NewEvent(event=JobStarted()),
        NewEvent(event=ResourceStarted(title="A", card_sha256="0" * 64), resource=RESOURCE, attempt=1),
    )
    gate = Gate()
    job = fold(
        RecordedEvent(
            None, "a" * 36, n, new.event.type, new.event.version, 1, new.resource, 1, None, gate(new.event)[1]
        )
        for n, new in enumerate(history, start=1)
    )
    assert job is not None
    return job


def record(job: Job, number: int, fields_json: str) -> RecordedEvent:
    sequence = job.last_sequence + 1
    return RecordedEvent(
        None, job.job_id, sequence, Progress.type, Progress.version, 1, RESOURCE, 1, number, fields_json
    )
