"""(p) The log on PostgreSQL beside the log on SQLite, and beside the least that PostgreSQL itself needs for the same.

Ours goes through the whole journal on both engines: gate, fold, log, projection, publication; on PostgreSQL with the
lease's fence in each transaction and the news for other replicas. The server is on the same machine and disk, so it
takes its share of the same cores. ``python -m benchmarks.postgres [--against PATH]`` has the SQLite of another checkout
of this repository beside it too. All by turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.appending import appends, event_row
from benchmarks.checkouts import measured
from benchmarks.claims import LOOKS_QUEUED, QUEUED, claims_ms, looks_ms
from benchmarks.claims import row_of as claims_row
from benchmarks.in_checkout import HISTORY_EVENTS, replayed
from benchmarks.interpreter import as_served
from benchmarks.peers import raw_postgres
from benchmarks.postgres_server import postgres
from benchmarks.scratch import scratch
from benchmarks.store import opened
from benchmarks.table import Row, median, show
from tests.kit.postgres import PostgresServer

JOBS = (1, 16, 128)
OURS, SQLITE, BEFORE = "the journal", "SQLite", "SQLite before"
RAW, RAW_BY_ROW = "raw fenced group commit", "raw, with executemany"
NO_NEWS, NO_FENCE = "without news", "without the fence"
RAW_NO_NOTIFY, RAW_NO_FENCE = "raw, without NOTIFY", "raw, without fence and NOTIFY"
# (peer, jobs) -> the least ratio.
GOALS = {
    (BEFORE, 1): 0.4,
    (BEFORE, 16): 0.4,
    (BEFORE, 128): 0.5,
    (RAW, 128): 0.3,
    (NO_NEWS, 128): 0.95,
    (NO_FENCE, 128): 0.8,
}
Measure = Callable[[float], Awaitable[float]]


async def run(quick: bool, against: Path | None = None) -> list[Row]:
    with scratch() as folder, postgres(folder) as server, as_served():
        rows = [row for jobs in JOBS for row in await appended(server, jobs, quick, against)]
        return [*rows, await replays(server, quick), *await claims(server, quick)]


async def appended(server: PostgresServer, jobs: int, quick: bool, against: Path | None) -> list[Row]:
    measures: dict[str, Measure] = {
        OURS: partial(through_the_journal, server, jobs),
        SQLITE: partial(through_the_journal, None, jobs),
        RAW: partial(raw, server, jobs),
    }
    if jobs == JOBS[-1] and not quick:
        measures |= {
            NO_NEWS: partial(through_the_journal, server, jobs, tells=False),
            NO_FENCE: partial(through_the_journal, server, jobs, is_fenced=False),
            RAW_BY_ROW: partial(raw, server, jobs, by_row=True),
            RAW_NO_NOTIFY: partial(raw, server, jobs, tells=False),
            RAW_NO_FENCE: partial(raw, server, jobs, tells=False, is_fenced=False),
        }
    if against is not None:
        measures[BEFORE] = partial(measured, against, "appends", jobs)
    found = await by_turns(measures, quick)
    name = f"(p) appends, {jobs} jobs"
    return [row_of(name, found[OURS], peer, found[peer], GOALS.get((peer, jobs))) for peer in found if peer != OURS]


async def by_turns(measures: Mapping[str, Measure], quick: bool) -> dict[str, float]:
    """The medians."""
    seconds, turns = (0.25, 2) if quick else (1.0, 5)
    found: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(turns):
        # The one that is first in this turn is last in the next.
        for name in list(measures)[:: 1 if turn % 2 else -1]:
            found[name].append(await measures[name](seconds))
    return {name: median(values) for name, values in found.items()}


async def through_the_journal(
    server: PostgresServer | None, jobs: int, seconds: float, *, is_fenced: bool = True, tells: bool = True
) -> float:
    with place(server) as where:
        async with opened(where, is_fenced=is_fenced, tells=tells) as store:
            return await appends(store, jobs, seconds)


async def raw(
    server: PostgresServer,
    jobs: int,
    seconds: float,
    *,
    is_fenced: bool = True,
    tells: bool = True,
    by_row: bool = False,
) -> float:
    with server.database() as url:
        return raw_postgres.appends(url, jobs, seconds, event_row, is_fenced=is_fenced, tells=tells, by_row=by_row)


@contextmanager
def place(server: PostgresServer | None) -> Iterator[Path | str]:
    """A new database on the server; without one, a file of SQLite."""
    if server is not None:
        with server.database() as url:
            yield url
    else:
        with scratch() as folder:
            yield folder / "log.sqlite3"


async def replays(server: PostgresServer, quick: bool) -> Row:
    found = await by_turns({OURS: partial(replay, server), SQLITE: partial(replay, None)}, quick)
    return row_of(f"(p) replay of {HISTORY_EVENTS:,} events", found[OURS], SQLITE, found[SQLITE])


async def replay(server: PostgresServer | None, seconds: float) -> float:
    with place(server) as where:
        async with opened(where) as store:
            return await replayed(store, seconds)


async def claims(server: PostgresServer, quick: bool) -> list[Row]:
    times = 50 if quick else 200
    few, many = QUEUED[0], QUEUED[-1]
    with server.database() as short, server.database() as long:
        found = await claims_ms({few: short, many: long}, times)
    with server.database() as short, server.database() as long:
        looks = await looks_ms({LOOKS_QUEUED[0]: short, LOOKS_QUEUED[-1]: long}, times)
    return [claims_row("(p) a claim", found), claims_row("(p) a look for many jobs", looks)]


def row_of(name: str, value: float, peer: str, peer_value: float, least: float | None = None) -> Row:
    return Row(
        name=name,
        value=value,
        unit="events/s",
        peer=peer,
        peer_value=peer_value,
        goal=f">= {least:g}" if least is not None else "",
        holds=value >= least * peer_value if least is not None else None,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--against", type=Path)
    arguments.add_argument("--jobs", type=int, help="only the appends of so many")
    given = arguments.parse_args()
    against = given.against and given.against.resolve()

    async def measure() -> list[Row]:
        if given.jobs is None:
            return await run(given.quick, against)
        with scratch() as folder, postgres(folder) as server, as_served():
            return await appended(server, given.jobs, given.quick, against)

    show(uvloop.run(measure()))


if __name__ == "__main__":
    main()
