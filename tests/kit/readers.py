"""The threads of a database's readers: a test ends when they have ended.

A reader whose connecting or asking was cancelled closes on a thread of its own, which nobody waits for. When the event
loop is closed before, that thread fails, and the error turns up in whichever test runs then.
"""

from __future__ import annotations

import threading
from typing import Any

import aiosqlite
from sqlalchemy import event

from service.store.database import Database
from tests.kit.service import until


class Readers:
    """``ended`` waits for every reader that this database ever opened; it is closed already."""

    def __init__(self, database: Database) -> None:
        self._threads: list[threading.Thread] = []
        event.listen(database._reader_engine.sync_engine, "do_connect", self._opens)

    async def ended(self) -> None:
        await until(lambda: not any(thread.is_alive() for thread in self._threads))

    def _opens(self, _dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        options["async_creator_fn"] = self._open

    def _open(self, *arguments: Any, **options: Any) -> aiosqlite.Connection:
        connection = aiosqlite.connect(*arguments, **options)
        connection._thread.daemon = True
        self._threads.append(connection._thread)
        return connection
