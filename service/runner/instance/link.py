"""The link to one instance: connects, and connects again for as long as a lost link may last.

A link that is down is no failure. Only time decides: a first connection that does not come up for
``connect_seconds`` is ``ssh_unreachable``, a link that was up and stays down for ``lost_seconds`` is ``instance_lost``.
What time cannot heal (a changed host key, a refused key at the first connection) is a failure at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay, wait_random_exponential

from service.errors import AuthenticationFailed, HostKeyChanged, InstallerError, LinkDown, TargetRefused
from service.events.causes import Cause
from service.events.event_types import Event, HostKeyAccepted, JobReattached, LinkLost
from service.runner.instance.ssh import Connection, Connector, Instance
from service.runner.outcome import Outcome, failed

logger = logging.getLogger(__name__)

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 10.0
LIVED_SECONDS_MIN = 1.0
T = TypeVar("T")


class LinkFailed(InstallerError):
    """The instance cannot be used any more; ``outcome`` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


class Link:
    """``was_up``: the log says that the job had a connection before. ``record`` appends an event to the job."""

    def __init__(
        self,
        connector: Connector,
        instance: Instance,
        *,
        was_up: bool,
        connect_seconds: float,
        lost_seconds: float,
        record: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._connector = connector
        self._instance = instance
        self._was_up = was_up
        self._reattach: JobReattached | None = JobReattached(after_restart=True) if was_up else None
        self._connect_seconds = connect_seconds
        self._lost_seconds = lost_seconds
        self._record = record
        self._connection: Connection | None = None
        self._failure: LinkFailed | None = None
        self._connecting = asyncio.Lock()

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do the work over the link, again after each loss of the link. Several may use it at once: they share one
        connection, and one of them brings up the next. Raises LinkFailed."""
        while True:
            connection = await self._connected()
            begin = asyncio.get_running_loop().time()
            try:
                return await work(connection)
            except LinkDown as error:
                logger.info("link to %s lost: %s", self._instance, error)
                async with self._connecting:
                    if self._connection is connection:
                        await self._lost(error)
                # A link that comes up and breaks at once, again and again, must not fill the log with that.
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
            return await self._connected_by_one()

    async def _connected_by_one(self) -> Connection:
        if self._failure is not None:
            raise self._failure
        if self._connection is None:
            try:
                self._connection = await self._connect()
            except LinkFailed as error:
                self._failure = error
                raise
            key = self._connection.host_key
            if key is not None and key.is_new:
                await self._record(HostKeyAccepted(host_key_sha256=key.fingerprint, algorithm=key.algorithm))
            if self._reattach is not None:
                await self._record(self._reattach)
                self._reattach = None
            self._was_up = True
        return self._connection

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
                        await self._lost(error)
                        raise
        except RetryError as error:
            cause = Cause.INSTANCE_LOST if self._was_up else Cause.SSH_UNREACHABLE
            last = error.last_attempt.exception()
            raise LinkFailed(failed(cause, f"no SSH connection for {limit:g} seconds: {last}")) from error
        except AuthenticationFailed as error:
            raise LinkFailed(failed(Cause.SSH_AUTH, str(error))) from error
        except HostKeyChanged as error:
            raise LinkFailed(failed(Cause.HOST_KEY_CHANGED, str(error))) from error
        except TargetRefused as error:
            raise LinkFailed(failed(Cause.SSH_UNREACHABLE, str(error))) from error
        raise LinkDown("no connection was tried")

    async def _lost(self, error: LinkDown) -> None:
        """Told once for each time that a link which was up goes down."""
        await self.close()
        if self._was_up and (self._reattach is None or self._reattach.after_restart):
            await self._record(LinkLost(reason=str(error)[:500]))
            self._reattach = JobReattached()
