"""One phase of an attempt: follows it on the instance, appends its output to the job, and makes the instance match
what clients want of the job.

Two things end the wait for an instance that never comes to the end of an attempt: what the heartbeat finds is a lost
link (instance/heartbeat.py), and beyond the service's own time limit the attempt has timed out (time_limit.py).

A link that breaks leaves the parser as it is, and the next attach continues at the byte after the last one that was
fed. After a restart of the service the log is read again from its first byte into a fresh parser, and the events that
are stored already are dropped: a parser that began in the middle would not know a total or a name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from service.crash_points import crash_point
from service.errors import LeaseLost, LinkDown, RemoteError
from service.events.ledger import Evidence
from service.events.recorded_event import NewEvent
from service.runner.eta import with_estimates
from service.runner.instance.attachment import Attachment
from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.ended import Ended, Ridden
from service.runner.instance.heartbeat import Heartbeat
from service.runner.instance.remote import Remote, Signal
from service.runner.instance.ssh import Connection
from service.runner.live_job import LiveJob
from service.runner.phases import Phase
from service.runner.pipeline import Pipeline
from service.runner.tasks import cancel_and_wait
from service.runner.thinning import DELAY_SECONDS_MAX, Thinner
from service.runner.time_limit import TimeLimit

logger = logging.getLogger(__name__)

SIGNAL_AGAIN_SECONDS = 0.5
# Longer than the instance takes from the first TERM to the last KILL.
ANSWER_SECONDS_MAX = 30.0
# A megabyte of bars is seventeen thousand events: in one append they would take a hundred megabytes.
FEED_BYTES_MAX = 4 * 1024
_TIMED_OUT = Ended(exit_code=None, timed_out=True)


class Attempt:
    """Runs one phase of an attempt: starts it on the instance or finds it there, feeds its output to the parser, and
    signals it when a client pauses, resumes or cancels the job.

    ``directories``: where a signal finds the attempt on the instance. ``stored_offset``: the offset of the last event
    of this log that the job has already. ``is_new``: nothing was ever launched for it, so nothing there can be
    stopped. ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        *,
        spec: AttemptSpec,
        phase: Phase,
        directories: Sequence[str],
        stored_offset: int,
        live_job: LiveJob,
        is_new: bool,
        clock: Callable[[], float],
    ) -> None:
        self._spec = spec
        self._phase = phase
        self._directories = directories
        self._stored_offset = stored_offset
        self._live_job = live_job
        self._clock = clock
        self._time_limit = TimeLimit(spec.timeout_seconds, live_job, clock)
        self._pipeline = Pipeline(live_job)
        self._fed_bytes = 0
        self._fed: list[NewEvent] = []
        self._needed_bytes: int | None = None
        # The signal in effect on the instance; None: unknown.
        self._in_effect: Signal | None = Signal.RESUME if is_new else None
        self._is_answered = asyncio.Event()
        self._is_answered.set()
        self.partial_files: tuple[str, ...] = ()

    async def follow(self, connection: Connection) -> Ended:
        """Start it or find it, and follow it to its end. Raises LinkDown; then call again with a new connection."""
        if self._time_limit.is_over():
            return _TIMED_OUT
        remote = Remote(connection)
        following = asyncio.create_task(self._follow(connection, remote))
        limit = asyncio.create_task(self._time_limit.reached())
        try:
            await asyncio.wait([following, limit], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return following.result()
            await cancel_and_wait([following])
            await self._pipeline.settle()
            return await self._end_late(remote)
        finally:
            await cancel_and_wait([following, limit])

    async def _follow(self, connection: Connection, remote: Remote) -> Ended:
        await self._signal_before_launch(remote)
        await self._live_job.until_may_act()
        crash_point("before_launch")
        must_exist = self._spec.must_exist or self._fed_bytes > 0 or self._live_job.job.is_cancelling
        beside = [asyncio.create_task(self._signal_changes(remote))]
        try:
            async with remote.attach(replace(self._spec, must_exist=must_exist), self._fed_bytes) as attachment:
                beside.append(asyncio.create_task(self._heartbeat(connection, remote, attachment).watch()))
                async for chunk in attachment:
                    await self._feed_all(chunk, attachment.received_at)
                    connection.prove()
                    await self._look_at_room(remote)
                await self._pipeline.settle()
                await self._wait_for_answer()
                return attachment.ended()
        except RemoteError as error:
            if isinstance(error, LinkDown):
                # The last signal may never have reached the instance.
                self._in_effect = None
            await self._pipeline.settle()
            raise
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)

    def _heartbeat(self, connection: Connection, remote: Remote, attachment: Attachment) -> Heartbeat:
        ask = partial(remote.sign_of, self._spec)
        return Heartbeat(attachment, ask=ask, answered=connection.prove, clock=self._clock)

    async def _end_late(self, remote: Remote) -> Ended:
        """The instance should have ended the attempt long ago: tell it once more, and wait for no more than its
        answer."""
        logger.warning("job %s: %s has not ended in time", self._live_job.job.job_id, self._spec.directory)
        try:
            await self._signal(remote, Signal.CANCEL)
        except RemoteError as error:
            logger.info("job %s: %s", self._live_job.job.job_id, error)
        return _TIMED_OUT

    def take(self, ridden: Ridden) -> Ended:
        """The same for a phase that ran with the end of the one before it. All of its log is here, a few lines, so its
        events come with `close`."""
        self._fed += self._phase.parser.feed(ridden.log)
        return ridden.ended

    def close(self, ended: Ended) -> tuple[list[NewEvent], Evidence]:
        """The events that are not appended yet, those of the last lines, and the evidence for a verdict."""
        parser = self._phase.parser
        fed = [self._with_estimates(event) for event in self._not_stored(self._fed)]
        return [*fed, *self._not_stored(parser.close(ended.exit_code))], parser.evidence

    async def _feed_all(self, chunk: bytes, received_at: float) -> None:
        """Piece by piece; once the service is late, the rest of this read at once, with fewer bars."""
        time = asyncio.get_running_loop().time
        for begin in range(0, len(chunk), FEED_BYTES_MAX):
            if time() - received_at >= DELAY_SECONDS_MAX:
                await self._feed_late(chunk[begin:])
                return
            piece = chunk[begin : begin + FEED_BYTES_MAX]
            await self._append(self._parse(piece))
            self._fed_bytes += len(piece)
            if begin + FEED_BYTES_MAX < len(chunk):
                # Where no event comes of it, nothing else gives the other tasks their turn.
                await asyncio.sleep(0)

    async def _feed_late(self, rest: bytes) -> None:
        thinner = Thinner()
        for begin in range(0, len(rest), FEED_BYTES_MAX):
            thinner.add(self._parse(rest[begin : begin + FEED_BYTES_MAX]))
            await asyncio.sleep(0)
        await self._append(thinner.events())
        self._fed_bytes += len(rest)

    def _parse(self, piece: bytes) -> list[NewEvent]:
        """The events of these bytes that the job does not have yet."""
        crash_point("before_parse")
        events = self._phase.parser.feed(piece)
        crash_point("after_parse")
        return self._not_stored(events)

    async def _append(self, events: Sequence[NewEvent]) -> None:
        await self._pipeline.append([self._with_estimates(event) for event in events])

    async def _look_at_room(self, remote: Remote) -> None:
        """A download that announces more than was free ends, unless the instance finds room by now."""
        needed = self._phase.parser.announced_too_much
        if needed is None or needed == self._needed_bytes:
            return
        self._needed_bytes = needed
        await self._live_job.until_may_act()
        result = await remote.end_without_room(self._spec, needed)
        self.partial_files = result.partial_files or self.partial_files

    @property
    def _wanted(self) -> Signal:
        if self._live_job.job.is_cancelling:
            return Signal.CANCEL
        return Signal.PAUSE if self._live_job.is_paused else Signal.RESUME

    async def _signal_before_launch(self, remote: Remote) -> None:
        """Nothing is launched while the job is paused; what runs there already is stopped and followed."""
        async for _job in self._live_job.changes():
            wanted = self._wanted
            if wanted is self._in_effect or await self._signal(remote, wanted) or wanted is not Signal.PAUSE:
                return

    async def _signal_changes(self, remote: Remote) -> None:
        """Make the instance match each change of the job while the attempt is followed."""
        try:
            changes = self._live_job.changes()
            async for _job in changes:
                wanted = self._wanted
                is_found = wanted is self._in_effect or await self._signal(remote, wanted)
                # An attempt that is just being launched is not found yet.
                if not is_found and wanted is not Signal.RESUME:
                    changes.look_again_in(SIGNAL_AGAIN_SECONDS)
        except LinkDown:
            # The follower notices as well, and the next attach begins with the signal.
            self._in_effect = None
        except LeaseLost as error:
            # The log is followed until its appends are refused as well.
            logger.info("job %s: %s", self._live_job.job.job_id, error)
        except RemoteError:
            logger.exception("job %s: the instance did not take the %s", self._live_job.job.job_id, self._wanted)

    async def _signal(self, remote: Remote, signal: Signal) -> bool:
        """Whether the attempt was found running."""
        await self._live_job.until_may_act()
        crash_point("before_signal")
        self._is_answered.clear()
        try:
            result = await remote.signal(self._spec, self._directories, signal)
        finally:
            self._is_answered.set()
        crash_point("after_signal")
        if result.was_running or signal is Signal.RESUME:
            self._in_effect = signal
        self.partial_files = result.partial_files or self.partial_files
        return result.was_running

    async def _wait_for_answer(self) -> None:
        """A signal that is under way is answered first: the answer names the files that a cancelled download left half
        done, and comes after the end of the log."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._is_answered.wait()
        except TimeoutError:
            logger.warning("job %s: the instance did not answer the %s", self._live_job.job.job_id, self._wanted)

    def _not_stored(self, events: list[NewEvent]) -> list[NewEvent]:
        """The events that the job does not have yet. Those of one record were stored together, so the offset
        decides."""
        return [new for new in events if new.source_offset is None or new.source_offset > self._stored_offset]

    def _with_estimates(self, new: NewEvent) -> NewEvent:
        """The parser knows no clock, so the estimates, which depend on the time, are added here."""
        return with_estimates(new, self._live_job.eta, self._clock(), is_measured=self._phase.is_measured)
