"""The connections that jobs leave, for the next job of the same instance: it then begins without a handshake."""

from __future__ import annotations

import asyncio

from service.runner.instance.key_files import KeyStamp
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance

# Each is a descriptor, and some hundred kilobytes.
KEPT_MAX = 50

# A job that would be let in by another user or key gets no connection that was made with these.
Login = tuple[str, int, str, KeyStamp]


class KeptConnections:
    """At most one for each login and ``KEPT_MAX`` in all, each for this many seconds; 0: none at all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[Login, tuple[Connection, asyncio.TimerHandle]] = {}

    def keep(self, connection: Connection) -> bool:
        """Whether it is kept. If it is not, it is still the caller's to close."""
        if self._seconds <= 0 or not connection.is_reusable:
            return False
        login = _login(connection.instance, connection.key_stamp)
        self._drop(login)
        if len(self._kept) >= KEPT_MAX:
            self._drop(next(iter(self._kept)))
        timer = asyncio.get_running_loop().call_later(self._seconds, self._drop, login)
        self._kept[login] = (connection, timer)
        return True

    def take(self, instance: Instance, key_stamp: KeyStamp) -> Connection | None:
        """The connection, which is now the caller's. It may have died unseen, so it has yet to prove itself
        (`Connection.renew`)."""
        return self._take(_login(instance, key_stamp))

    def close(self) -> None:
        """All of them, and keep none from now on."""
        self._seconds = 0
        for login in list(self._kept):
            self._drop(login)

    def _take(self, login: Login) -> Connection | None:
        if login not in self._kept:
            return None
        connection, timer = self._kept.pop(login)
        timer.cancel()
        return connection if connection.is_reusable else None

    def _drop(self, login: Login) -> None:
        connection = self._take(login)
        if connection is not None:
            connection.abort()


def _login(instance: Instance, key_stamp: KeyStamp) -> Login:
    return instance.host.lower(), instance.port, instance.user, key_stamp
