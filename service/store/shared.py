"""The seam for replicas: what they need of a database that several services share, beside the seam of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Executable, Row

from service.events.recorded_event import RecordedEvent


class Shared(Protocol):
    """A connection of its own, which waits behind no commit, and one more to listen on. ``close`` ends both.

    ``session``: the name of this service's connections, which no other service has.
    """

    session: str

    async def run(self, statement: Executable) -> Sequence[Row[Any]]:
        """Run it in a transaction of its own; the rows that it returns. Raises StoreUnavailable."""

    def now_ms(self) -> ColumnElement[int]:
        """The database's clock at this moment, in milliseconds since the epoch."""

    def fence(self, connection: Connection, replica_id: int) -> None:
        """For ``write`` and ``commit``: the transaction fails with LeaseLost, at the latest when it commits, unless
        this replica has its row; until then nobody else can delete it."""

    async def end_sessions(self, sessions: Sequence[str]) -> None:
        """End the connections with these names, and with them the transactions that they hold open. Raises
        StoreUnavailable."""

    async def tell(self, text: str) -> None:
        """Send a text of less than 8,000 bytes to all who listen. It may be lost. Raises StoreUnavailable."""

    async def listen(self, begun: Callable[[], None], heard: Callable[[str], None]) -> None:
        """Call ``begun`` once it listens, then ``heard`` with each text. Ends by being cancelled. Raises
        StoreUnavailable when the connection is lost."""

    async def read_after(self, after: Mapping[str, int], limit: int) -> list[RecordedEvent]:
        """For each of these jobs at most ``limit`` events after the sequence, in order, in one query. Raises
        StoreUnavailable."""

    async def close(self) -> None:
        """Nothing may be called after this."""
