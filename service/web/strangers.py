"""The connections that give way: strangers, the longest idle first, and the bytes that they have sent.

There are two orders, because a stranger whose session has joined still gives way to a newcomer, but its bytes and its
seconds are not counted: ``_idle`` has all strangers, ``_unadmitted`` those whose session has not joined. Both are
sorted by ``since`` and never sorted: whatever happens to a connection puts it last. This class chooses who must go;
the registry closes them.
"""

from __future__ import annotations

from collections import OrderedDict

from service.web.connection import Connection

# Those whose session has not joined: each costs some 25 KB.
STRANGERS_MAX = 8_000
UNANSWERED_BYTES_MAX = 32 << 20
HEAD_SECONDS_MAX = 20.0
STILL_SECONDS_MAX = 75.0


class Strangers:
    """``unadmitted_max``: how many may be open whose session has not joined. ``unanswered``: the bytes that all of
    them have sent and nobody has answered."""

    def __init__(self, unadmitted_max: int) -> None:
        self.unanswered = 0
        self._unadmitted_max = unadmitted_max
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._unadmitted: OrderedDict[Connection, None] = OrderedDict()

    def place(self, connection: Connection) -> None:
        """Something happened to this connection: it comes last, or it is not a stranger any more."""
        self._take_out(connection)
        if connection.is_stranger:
            self._idle[connection] = None
        if connection.is_admitted:
            self.forgive(connection)
        else:
            self._unadmitted[connection] = None

    def remove(self, connection: Connection) -> None:
        self._take_out(connection)
        self.forgive(connection)

    def hold(self, connection: Connection, count: int) -> None:
        """It has sent so many bytes more."""
        connection.unanswered += count
        self.unanswered += count

    def forgive(self, connection: Connection) -> None:
        """What it sent has been answered."""
        self.unanswered -= connection.unanswered
        connection.unanswered = 0

    def longest_idle(self) -> Connection | None:
        return next(iter(self._idle), None)

    def one_too_many(self) -> Connection | None:
        """If no more may be open whose session has not joined: the longest idle of them."""
        return next(iter(self._unadmitted)) if len(self._unadmitted) >= self._unadmitted_max else None

    def heaviest(self) -> Connection | None:
        """If all together have sent too much: the one that has sent most."""
        if self.unanswered <= UNANSWERED_BYTES_MAX:
            return None
        heaviest = max(self._unadmitted, key=lambda connection: connection.unanswered, default=None)
        return heaviest if heaviest is not None and heaviest.unanswered else None

    def late(self, now: float) -> list[Connection]:
        """Those that have not sent a whole head, or have not moved, in time. ``now``: on the clock of ``since``."""
        late = []
        for connection in self._unadmitted:
            idle = now - connection.since
            if idle < HEAD_SECONDS_MAX:
                break
            is_in_first_head = connection.is_in_head and not connection.answered
            if is_in_first_head or connection.unanswered or idle >= STILL_SECONDS_MAX:
                late.append(connection)
        return late

    def _take_out(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._unadmitted.pop(connection, None)
