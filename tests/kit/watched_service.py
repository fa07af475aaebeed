"""``python -m tests.kit.watched_service serve``: the service as it is, with the loop watchdog once it listens.

uvloop runs what the service schedules through methods of the loop, which a subclass can count, and what comes from a
socket by itself: so the two protocols that read are counted as well.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import uvloop

from tests.kit.loop_watch import REPORT_VARIABLE, LoopWatch

watch = LoopWatch(Path(os.environ[REPORT_VARIABLE]), whole_process=True)


class WatchedLoop(uvloop.Loop):
    """uvloop, which counts its callbacks."""

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_soon(watch.call, callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_soon_threadsafe(watch.call, callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_later(delay, watch.call, callback, *args, context=context)


def main() -> None:
    uvloop.run = functools.partial(uvloop.run, loop_factory=WatchedLoop)
    from service import __main__ as command_line

    _slow_down()
    _set_clock()
    _be_newer()
    _be_impatient()
    serve = command_line._serve

    async def watched_serve(build: Any) -> None:
        def built() -> Any:
            service = build()
            _watch_protocols()
            start = service.start

            async def start_then_watch() -> None:
                await start()
                watch.start()

            service.start = start_then_watch
            return service

        await serve(built)

    command_line._serve = watched_serve
    command_line.main()


def _slow_down() -> None:
    """Each commit takes this much longer: a disk that is slow."""
    seconds = float(os.environ.get("SLOW_STORE_SECONDS", "0"))
    if not seconds:
        return
    from service.store.database_sqlite import SqliteDatabase

    commit = SqliteDatabase.commit

    def slow_commit(database: SqliteDatabase, prepare: Any, settled: Any) -> None:
        def slow_prepare() -> Any:
            time.sleep(seconds)
            return prepare()

        commit(database, slow_prepare, settled)

    SqliteDatabase.commit = slow_commit  # type: ignore[assignment,method-assign]


def _set_clock() -> None:
    """The wall clock is wrong by as many seconds as this file says, which a test may change at any time."""
    file = os.environ.get("CLOCK_FILE")
    if file is None:
        return
    descriptor = os.open(file, os.O_RDONLY)
    time_of_day, time_of_day_ns = time.time, time.time_ns

    def wrong_by() -> int:
        return int(os.pread(descriptor, 20, 0) or 0)

    time.time = lambda: time_of_day() + wrong_by()
    time.time_ns = lambda: time_of_day_ns() + wrong_by() * 10**9


def _be_newer() -> None:
    """A version after this one."""
    if "NEWER_VERSION" in os.environ:
        from tests.kit.newer_version import become_newer

        become_newer()


def _be_impatient() -> None:
    """A cancelled job waits this long for its instance."""
    if "CANCEL_SECONDS_MAX" in os.environ:
        from service.runner import plan

        plan.CANCEL_SECONDS_MAX = float(os.environ["CANCEL_SECONDS_MAX"])


def _watch_protocols() -> None:
    from aiohttp.web_protocol import RequestHandler
    from asyncssh.connection import SSHConnection

    RequestHandler.data_received = watch.watched(RequestHandler.data_received)  # type: ignore[method-assign]
    SSHConnection.data_received = watch.watched(SSHConnection.data_received)  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
