"""The link to one instance: connects, and reconnects until a lost link has been down for too long.

A link that is down is not a failure. Only time decides: a first connection that does not come up within
``connect_seconds`` is ``ssh_unreachable``, a link that was up and stays down for ``lost_seconds`` is ``instance_lost``.
Errors that time does not cure (a changed host key, a refused key at the first connection) fail at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay, wait_random_exponential

from service.errors import AuthenticationFailed, HostKeyChanged, LinkDown, LinkFailed, TargetRefused
from service.events.causes import Cause
from service.events.event_types import Event, HostKeyAccepted, JobReattached, LinkLost
from service.runner.instance.connector import Connector
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance

logger = logging.getLogger(__name__)

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 10.0
LIVED_SECONDS_MIN = 1.0
REASON_CHARACTERS_MAX = 500
T = TypeVar("T")


# What time does not cure, and the cause that it is.
_FINAL: dict[type[Exception], Cause] = {
    AuthenticationFailed: Cause.SSH_AUTH,
    HostKeyChanged: Cause.HOST_KEY_CHANGED,
    TargetRefused: Cause.SSH_UNREACHABLE,
}


class Link:
    """``was_up``: the job had a connection before, as its events say. ``append`` adds an event to the job."""

    def __init__(
        self,
        connector: Connector,
        instance: Instance,
        *,
        was_up: bool,
        connect_seconds: float,
        lost_seconds: float,
        append: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._connector = connector
        self._instance = instance
        self._was_up = was_up
        self._reattach: JobReattached | None = JobReattached(after_restart=True) if was_up else None
        self._connect_seconds = connect_seconds
        self._lost_seconds = lost_seconds
        self._append = append
        self._connection: Connection | None = None
        self._failure: LinkFailed | None = None
        self._connecting = asyncio.Lock()

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do the work over the link, and again from its beginning after each loss of the link. Concurrent users share
        one connection, and one of them makes the next. Raises LinkFailed."""
        while True:
            connection = await self._connected()
            begin = asyncio.get_running_loop().time()
            try:
                return await work(connection)
            except LinkDown as error:
                logger.info("link to %s lost: %s", self._instance, error)
                async with self._connecting:
                    if self._connection is connection:
                        await self._close_lost(error)
                # A link that breaks as soon as it is up, again and again, must not fill the log.
                lived = asyncio.get_running_loop().time() - begin
                await asyncio.sleep(max(0.0, LIVED_SECONDS_MIN - lived))

    @property
    def connection(self) -> Connection | None:
        """The connection, if one is up."""
        return self._connection

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._failure is not None:
                raise self._failure
            if self._connection is None:
                try:
                    self._connection = await self._connect()
                except LinkFailed as error:
                    self._failure = error
                    raise
                await self._append_connected(self._connection)
                self._was_up = True
            return self._connection

    async def _append_connected(self, connection: Connection) -> None:
        key = connection.host_key
        if key is not None and key.is_new:
            await self._append(HostKeyAccepted(host_key_sha256=key.fingerprint, algorithm=key.algorithm))
        if self._reattach is not None:
            await self._append(self._reattach)
            self._reattach = None

    async def _connect(self) -> Connection:
        limit = self._lost_seconds if self._was_up else self._connect_seconds
        transient = (LinkDown, AuthenticationFailed) if self._was_up else (LinkDown,)
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(transient),
                stop=stop_after_delay(limit),
                wait=wait_random_exponential(multiplier=RETRY_SECONDS_FIRST, max=RETRY_SECONDS_MAX),
                sleep=asyncio.sleep,
            ):
                with attempt:
                    try:
                        return await self._connector.connect(self._instance)
                    except LinkDown as error:
                        await self._close_lost(error)
                        raise
        except RetryError as error:
            cause = Cause.INSTANCE_LOST if self._was_up else Cause.SSH_UNREACHABLE
            last = error.last_attempt.exception()
            raise LinkFailed(f"no SSH connection for {limit:g} seconds: {last}", cause=cause) from error
        except (AuthenticationFailed, HostKeyChanged, TargetRefused) as error:
            raise LinkFailed(str(error), cause=_FINAL[type(error)]) from error
        raise LinkDown("no connection was tried")

    async def _close_lost(self, error: LinkDown) -> None:
        """One event each time a link that was up goes down, however many attempts to reconnect fail after it."""
        await self.close()
        if self._was_up and (self._reattach is None or self._reattach.after_restart):
            await self._append(LinkLost(reason=str(error)[:REASON_CHARACTERS_MAX]))
            self._reattach = JobReattached()
