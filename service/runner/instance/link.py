"""The link to one instance: connects, and reconnects until a lost link has been down for too long.

A link is up once the instance has done what it was asked to over it: silence is not health, nor is a connection that
breaks as soon as it is used. A link that is down is not a failure. Only time decides: a first connection that does not
come up within ``connect_seconds`` is ``ssh_unreachable`` (``ssh_auth`` if the instance answers and refuses the key to
the end), a link that was up and stays down for ``lost_seconds`` is ``instance_lost``, and either is ``instance_silent``
where the instance lets the service in and then does nothing. What time does not cure (a changed host key, a target that
is not allowed) fails at once, and a login that never ran a program of this job after ``LOGIN_TRIES_MAX`` tries.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import (
    AuthenticationFailed,
    HostKeyChanged,
    KeyUnusable,
    LinkDown,
    LinkFailed,
    NoAnswer,
    NoShell,
    RemoteError,
    TargetRefused,
)
from service.events.causes import Cause
from service.events.event_types import Connecting, Event, HostKeyAccepted, JobReattached, LinkLost
from service.runner.instance.connector import Connector
from service.runner.instance.outage import Allowance, Outage, reason_of
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance

logger = logging.getLogger(__name__)

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 10.0
# OpenSSH 9.8 and later block a source that collects 15 seconds of penalties, and a refused key costs 5 seconds.
KEY_RETRY_SECONDS = 10.0
LOGIN_TRIES_MAX = 3
LOGIN_RETRY_SECONDS = 5.0
LIVED_SECONDS_MIN = 1.0
REASON_CHARACTERS_MAX = 500
T = TypeVar("T")

# What time does not cure, and the cause that it is. The first class that fits decides.
_FINAL: dict[type[RemoteError], Cause] = {
    KeyUnusable: Cause.SSH_AUTH,
    HostKeyChanged: Cause.HOST_KEY_CHANGED,
    TargetRefused: Cause.SSH_UNREACHABLE,
}


class Link:
    """``was_up``: the job had a link that was up before, as its events say. ``append`` adds an event to the job;
    ``redact`` removes secrets from what the instance printed. ``clock``: monotonic seconds."""

    def __init__(
        self,
        connector: Connector,
        instance: Instance,
        *,
        was_up: bool,
        connect_seconds: float,
        lost_seconds: float,
        append: Callable[[Event], Awaitable[None]],
        redact: Callable[[str], str],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connector = connector
        self._instance = instance
        self._was_up = was_up
        self._reattach: JobReattached | None = JobReattached(after_restart=True) if was_up else None
        self._connect_seconds = connect_seconds
        self._lost_seconds = lost_seconds
        self._append = append
        self._redact = redact
        self._connection: Connection | None = None
        self._failure: LinkFailed | None = None
        self._connecting = asyncio.Lock()
        self._clock = clock
        self._sleep = sleep
        self._outage = Outage(clock)
        self._allowance = Allowance(clock)
        self._losses = 0

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do the work over the link, and again from its beginning after each loss of the link. Concurrent users share
        one connection, and one of them makes the next. Raises LinkFailed."""
        while True:
            connection = await self._connected()
            begin = self._clock()
            try:
                result = await work(connection)
            except LinkDown as error:
                if connection.is_renewed and not connection.is_proven:
                    await self._forget(connection, error)
                    continue
                logger.info("link to %s lost: %s", self._instance, error)
                async with self._connecting:
                    if self._connection is connection:
                        await self._lost(connection, error)
                # A link that breaks as soon as it is up, again and again, must not fill the log.
                await self._sleep(max(0.0, LIVED_SECONDS_MIN - (self._clock() - begin)))
            else:
                connection.prove()
                self._note_up(connection)
                return result

    @property
    def connection(self) -> Connection | None:
        """The connection, if one is up."""
        return self._connection

    def leave(self) -> None:
        """The job is over: the connection may wait for the next one of its instance."""
        if self._connection is not None and self._connector.keep(self._connection):
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _connected(self) -> Connection:
        async with self._connecting:
            while self._connection is None:
                if self._failure is not None:
                    raise self._failure
                try:
                    self._connection = await self._connect()
                except (LinkDown, AuthenticationFailed, HostKeyChanged, TargetRefused) as error:
                    if isinstance(error, LinkDown):
                        await self._append_lost(error)
                    await self._wait_after(error)
                else:
                    await self._append_connected(self._connection)
            return self._connection

    async def _connect(self) -> Connection:
        # What is appended of a link that is back must be true, so that it is never a connection that may be dead.
        kept = await self._connector.kept(self._instance) if self._reattach is None else None
        return kept or await self._connector.connect(self._instance)

    async def _forget(self, connection: Connection, error: LinkDown) -> None:
        """A connection that an earlier job left was dead: this job has lost nothing, and makes one of its own."""
        logger.info("the connection to %s that was kept is of no use: %s", self._instance, error)
        async with self._connecting:
            if self._connection is connection:
                await self.close()

    async def _append_connected(self, connection: Connection) -> None:
        key = connection.host_key
        if key is not None and key.is_new:
            await self._append(HostKeyAccepted(host_key_sha256=key.fingerprint, algorithm=key.algorithm))
        if self._reattach is not None:
            await self._append(self._reattach)
            self._reattach = None

    def _note_up(self, connection: Connection) -> None:
        if connection.is_proven:
            self._was_up = True
            self._outage = Outage(self._clock)

    async def _lost(self, connection: Connection, error: LinkDown) -> None:
        """A connection broke, or was of no use. A link that was up is tried again at once: then it has been down for no
        time at all."""
        self._note_up(connection)
        self._losses += 1
        await self.close()
        await self._append_lost(error)
        if not connection.is_proven:
            await self._wait_after(error)

    async def _append_lost(self, error: LinkDown) -> None:
        """One event each time a link that was up goes down, however many attempts to reconnect fail after it; fewer
        where it breaks again and again."""
        is_said = self._reattach is not None and not self._reattach.after_restart
        if self._was_up and not is_said and self._allowance.take():
            await self._append(LinkLost(reason=self._text(error), times=max(1, self._losses)))
            self._losses = 0
            self._reattach = JobReattached()

    async def _wait_after(self, error: RemoteError) -> None:
        """Until the next try. When there is none, remember why, for this user of the link and all others."""
        outage = self._outage
        outage.tries += 1
        outage.login_tries += isinstance(error, NoShell)
        self._failure = self._final(error)
        if self._failure is not None:
            raise self._failure
        seconds = self._seconds_until_next(error)
        if outage.is_news(error) and self._allowance.take():
            await self._append(
                Connecting(
                    reason=reason_of(error),
                    text=self._text(error),
                    seconds=round(outage.seconds, 1),
                    next_seconds=round(seconds, 1),
                )
            )
        await self._sleep(seconds)

    def _seconds_until_next(self, error: RemoteError) -> float:
        if isinstance(error, AuthenticationFailed):
            return KEY_RETRY_SECONDS
        if isinstance(error, NoShell):
            return LOGIN_RETRY_SECONDS
        longest = min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2.0 ** min(self._outage.tries - 1, 10))
        chance = random.random()  # noqa: S311 - spreads tries, guards nothing
        return max(0.0, min(longest * chance, self._limit_seconds - self._outage.seconds))

    @property
    def _limit_seconds(self) -> float:
        return self._lost_seconds if self._was_up else self._connect_seconds

    def _final(self, error: RemoteError) -> LinkFailed | None:
        """Why no further try is worth it; None if one is."""
        cause = next((cause for kind, cause in _FINAL.items() if isinstance(error, kind)), None)
        if cause is not None and not (self._was_up and isinstance(error, KeyUnusable)):
            return LinkFailed(self._text(error), cause=cause)
        if isinstance(error, NoShell) and not self._was_up and self._outage.login_tries >= LOGIN_TRIES_MAX:
            return LinkFailed(self._text(error), cause=Cause.NO_SHELL)
        # A try with a key that was refused must not come early, so it may not fit any more.
        pause = KEY_RETRY_SECONDS if isinstance(error, AuthenticationFailed) else 0.0
        if self._outage.seconds + pause < self._limit_seconds:
            return None
        if isinstance(error, NoAnswer) or (self._was_up and isinstance(error, NoShell)):
            text = (
                f"the instance has not done what it was asked for {self._limit_seconds:g} seconds: {self._text(error)}"
            )
            return LinkFailed(text, cause=Cause.INSTANCE_SILENT)
        if self._was_up:
            return LinkFailed(self._without_link(error), cause=Cause.INSTANCE_LOST)
        if isinstance(error, AuthenticationFailed):
            return LinkFailed(self._text(error), cause=Cause.SSH_AUTH)
        if isinstance(error, NoShell):
            return LinkFailed(self._text(error), cause=Cause.NO_SHELL)
        return LinkFailed(self._without_link(error), cause=Cause.SSH_UNREACHABLE)

    def _without_link(self, error: RemoteError) -> str:
        return f"no SSH connection for {self._limit_seconds:g} seconds: {self._text(error)}"

    def _text(self, error: RemoteError) -> str:
        return self._redact(str(error))[:REASON_CHARACTERS_MAX]
