"""The one thread on which an engine writes: its transactions run there, one after the other, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service.store.database import Work

T = TypeVar("T")


class WriterThread:
    """``transaction`` runs a work in a transaction. ``error_of``: what a driver's error means to the store.
    ``after_commit``: called on the thread once a commit was told of: nobody waits for it but the next commit."""

    def __init__(
        self,
        transaction: Callable[[Callable[[Connection], object]], object],
        error_of: Callable[[DBAPIError], Exception],
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._transaction = transaction
        self._error_of = error_of
        self._after_commit = after_commit
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database-writer")

    async def run(self, call: Callable[[], T]) -> T:
        """Call it on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See Database.write."""
        results: list[T] = []
        try:
            await self.run(lambda: self._transaction(lambda connection: results.append(work(connection))))
        except DBAPIError as error:
            raise self._error_of(error) from error
        return results[0]

    def commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        """See Database.commit."""
        self._thread.submit(self._commit, prepare, settled)

    def shutdown(self) -> None:
        self._thread.shutdown()

    def _commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        failure: Exception | None = None
        try:
            work = prepare()
            if work is not None:
                self._transaction(work)
        except DBAPIError as error:
            failure = self._error_of(error)
        except Exception as error:  # noqa: BLE001 - it is the one who asked that is told
            failure = error
        settled(failure)
        self._after_commit()
