"""Each end is told at least once and in order, whatever the receivers do; the clock is the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from service.errors import AddressRefused, InvalidRequest, ReceiverGiven, UnknownReceiver, UnstorableEvent
from service.events import event_types as types
from service.events.event_types import Event
from service.events.recorded_event import NewEvent
from service.notify.address import APPRISE, KINDS, WEBHOOK, Address
from service.notify.apprise_sender import AppriseSender
from service.notify.deliverer import CLAIM_MS, GIVEN_UP_AFTER_MS, MOST_WAIT_MS, RECEIVER_MAX, Deliverer
from service.notify.message import Outbox
from service.notify.receivers import Receivers
from service.notify.senders import Sender, WebhookSender
from service.outbound import Outbound
from service.store.database import database_of
from service.store.deliveries import Deliveries
from service.store.event_store import EventStore
from service.store.housekeeping import DAY_MS, DELETED_AFTER, Housekeeping
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.stored_receivers import StoredReceivers
from tests.kit.receiver import SECRET, Receiver, receiving
from tests.store.conftest import queued

HOUR_MS = 3_600_000
ENDED: dict[str, Any] = {"installed": 0, "total": 1, "results": []}
WRONG: dict[str, Any] = {"cause": "not_found", "error": "404", "hint": "look", **ENDED}
COMPLETED = types.JobCompleted(**ENDED)
FAILED = types.JobFailed(**WRONG)
STALLED = types.ResourceStalled(stall_seconds=120)


def lost(cause: str = "instance_lost") -> Event:
    return types.ResourceFailed(cause=cause, error="gone", hint="", exit_code=None, seconds=1.0, tail=[])


class Office:
    """The store with its deliveries. ``now_ms`` moves only when a test moves it."""

    def __init__(
        self, url: str, folder: Path, *, given: tuple[Address, ...] = (), allowed: tuple[str, ...] = ()
    ) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.database = database_of(url)
        self.events = EventStore(self.database, outbox=Outbox(price=lambda job: 0.36))
        jobs = Jobs(self.database)
        self.journal = Journal(self.events, jobs, clock_ms=lambda: self.now_ms, publish=lambda *_: None)
        self.allowed = list(allowed)
        apprise = AppriseSender()
        self.receivers = Receivers(
            StoredReceivers(self.database),
            key_file=folder / "key_file",
            given=given,
            given_kinds=KINDS,
            allowed=self.allowed,
            check_apprise=apprise.check,
            clock_ms=lambda: self.now_ms,
        )
        self.deliveries = Deliveries(self.database)
        self.deliverer = self.another()

    def another(self, seconds_max: float = 5.0) -> Deliverer:
        """A deliverer as another service has it."""
        outbound = Outbound(allowed=["127.0.0.1"], fetches_max=100, seconds_max=seconds_max)
        sender = WebhookSender(outbound, clock_ms=lambda: self.now_ms)
        senders: dict[str, Sender] = {WEBHOOK: sender, APPRISE: AppriseSender()}
        return Deliverer(
            self.deliveries, self.receivers, senders, is_alone=False, clock_ms=lambda: self.now_ms, chance=lambda: 1.0
        )

    async def open(self) -> Office:
        await self.database.open()
        self.events.start()
        await self.receivers.load()
        return self

    async def close(self) -> None:
        await self.deliverer.stop()
        await self.journal.drain()
        await self.events.stop()
        await self.database.close()

    async def add(self, receiver: Receiver, *kinds: str) -> str:
        self.allowed.append(receiver.target)
        self.receivers._allowed = tuple(self.allowed)
        row, _ = await self.receivers.add(url=receiver.url, secret=SECRET, name=None, kinds=kinds or None)
        return row.receiver_id

    async def job(self, *ends: Event) -> str:
        job = await self.journal.enqueue(queued())
        await self.journal.append(job.job_id, [NewEvent(event=types.JobStarted())])
        for event in ends:
            is_about = isinstance(event, types.ResourceStalled | types.ResourceFailed)
            await self.journal.append(job.job_id, [NewEvent(event=event, resource="a.md" if is_about else None)])
        return job.job_id

    async def deliver(self, *, hours: float = 0) -> None:
        """Rounds until nothing is due any more, then on, from one that is due to the next, for so many hours."""
        end = self.now_ms + round(hours * HOUR_MS)
        while True:
            await self.deliverer.round()
            await self.deliverer.settled()
            # A try that ended wakes it: what comes after it may be due.
            woken = self.deliverer._loop._woken
            if woken.is_set():
                woken.clear()
                continue
            next_at_ms = await self.deliveries.next_at_ms(self.now_ms)
            if next_at_ms is None or next_at_ms > end:
                self.now_ms = end
                return
            self.now_ms = next_at_ms


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    opened = await Office(database_url, tmp_path).open()
    yield opened
    await opened.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def test_an_end_is_told_signed_and_once(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    job_id = await office.job(FAILED)
    office.now_ms += 3_600_000
    await office.deliver()
    (sent,) = receiver.sent
    told = sent.told
    assert sent.headers["webhook-id"] == f"{job_id}_3"
    assert (told["type"], told["data"]["job_id"], told["data"]["state"]) == ("job.failed", job_id, "failed")
    assert (told["data"]["cause"], told["data"]["error"], told["data"]["total"]) == ("not_found", "404", 1)
    assert told["data"]["cost"] == {"amount": 0.0, "currency": "USD"}
    await office.deliver(hours=100)
    assert len(receiver.sent) == 1


async def test_the_signature_is_that_of_the_specification(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    await office.job(COMPLETED)
    await office.deliver()
    (sent,) = receiver.sent
    assert Webhook(SECRET).verify(sent.body, sent.headers) == sent.told
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(sent.body + " ", sent.headers)


async def test_a_receiver_is_told_what_it_chose(office: Office, receiver: Receiver) -> None:
    await office.add(receiver, "instance_lost", "failed")
    all_of_it = await office.job(STALLED, lost("timeout"), lost(), lost(), FAILED)
    await office.job(COMPLETED)
    await office.deliver()
    assert receiver.kinds(all_of_it) == ["job.instance_lost", "job.failed"]
    # A second resource of the same lost instance tells nothing new.
    assert len(receiver.sent) == 2


async def test_a_receiver_that_fails_twenty_times_is_told_in_the_end(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    failing = 20

    def status(_body: str) -> int:
        nonlocal failing
        failing -= 1
        return 500 if failing >= 0 else 200

    receiver.status = status
    job_id = await office.job(STALLED, COMPLETED)
    await office.deliver(hours=48)
    assert receiver.kinds(job_id) == ["job.stalled", "job.completed"]
    assert (len(receiver.sent), len(receiver.accepted)) == (22, 2)
    # The second was not sent before the first had arrived.
    assert [each.told["type"] for each in receiver.sent] == ["job.stalled"] * 21 + ["job.completed"]
    # The same message at every try.
    assert len({(each.headers["webhook-id"], each.body) for each in receiver.sent}) == 2


async def test_a_receiver_that_is_down_for_an_hour_misses_nothing(office: Office) -> None:
    async with receiving() as there:
        port = there.port
        await office.add(there)
    jobs = [await office.job(STALLED, FAILED) for _ in range(10)]
    await office.deliver(hours=1)
    async with receiving(port) as again:
        await office.deliver(hours=2)
        for job_id in jobs:
            assert again.kinds(job_id) == ["job.stalled", "job.failed"]
    assert await office.receivers.rows.pending() == {}


async def test_no_wait_is_longer_than_an_hour_and_nothing_is_tried_for_ever(office: Office, receiver: Receiver) -> None:
    receiver_id = await office.add(receiver)
    receiver.status = 503
    await office.job(COMPLETED)
    begun, times = office.now_ms, []
    while await office.receivers.rows.pending():
        await office.deliver()
        times.append(office.now_ms)
        office.now_ms = await office.deliveries.next_at_ms(office.now_ms) or office.now_ms
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert max(waits) == MOST_WAIT_MS
    assert waits[:3] == [5_000, 10_000, 20_000]
    assert GIVEN_UP_AFTER_MS - MOST_WAIT_MS <= times[-1] - begun <= GIVEN_UP_AFTER_MS
    last = await office.receivers.rows.last(receiver_id)
    assert last is not None
    assert (last.state, last.status, last.tries) == ("given_up", 503, len(receiver.sent))


async def test_what_is_gone_is_not_tried_again_and_a_wish_to_wait_is_heard(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    receiver.status = lambda body: 410 if "completed" in body else 429
    receiver.headers = {"Retry-After": "600"}
    await office.job(COMPLETED)
    await office.deliver()
    assert await office.receivers.rows.pending() == {}
    await office.job(FAILED)
    await office.deliver()
    assert await office.deliveries.next_at_ms(office.now_ms) == office.now_ms + 600_000


async def test_a_slow_receiver_holds_up_neither_another_nor_an_append(office: Office, receiver: Receiver) -> None:
    async with receiving() as slow:
        slow.seconds = 3.0
        await office.add(slow)
        await office.add(receiver)
        started = time.monotonic()
        jobs = [await office.job(STALLED, COMPLETED) for _ in range(20)]
        office.deliverer.start()
        while len(receiver.accepted) < 2 * len(jobs):
            await asyncio.sleep(0.02)
            assert time.monotonic() - started < 10
        assert slow.accepted == [] or time.monotonic() - started > 3.0
        assert max(office.deliverer._busy.values()) <= RECEIVER_MAX
        for job_id in jobs:
            assert receiver.kinds(job_id) == ["job.stalled", "job.completed"]
        await office.deliverer.stop()


async def test_only_the_receivers_of_the_moment_are_told(office: Office, receiver: Receiver) -> None:
    async with receiving() as later, receiving() as deleted:
        gone = await office.add(deleted)
        await office.add(receiver)
        await office.job(COMPLETED)
        await office.receivers.delete(gone)
        await office.add(later)
        await office.deliver(hours=80)
        assert (len(receiver.sent), later.sent, deleted.sent) == (1, [], [])
    with pytest.raises(UnknownReceiver):
        await office.receivers.get(gone)


async def test_two_replicas_send_each_delivery_once(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    jobs = [await office.job(STALLED, COMPLETED) for _ in range(12)]
    other = office.another()
    while await office.receivers.rows.pending():
        await asyncio.gather(office.deliverer.round(), other.round())
        await asyncio.gather(office.deliverer.settled(), other.settled())
    assert len(receiver.sent) == 2 * len(jobs)
    for job_id in jobs:
        assert receiver.kinds(job_id) == ["job.stalled", "job.completed"]


async def test_what_a_service_had_claimed_when_it_died_is_sent_by_another(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    job_id = await office.job(COMPLETED)
    now = office.now_ms
    claimed = await office.deliveries.claim(now_ms=now, until_ms=now + CLAIM_MS, sending=[], busy={}, receiver_max=4)
    assert [each.job_id for each in claimed] == [job_id]
    await office.deliver()
    assert receiver.sent == []
    office.now_ms += CLAIM_MS
    await office.deliver()
    assert receiver.kinds(job_id) == ["job.completed"]


async def test_a_stop_leaves_what_is_being_sent_to_the_next(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    receiver.seconds = 30.0
    job_id = await office.job(COMPLETED)
    await office.deliverer.round()
    await asyncio.sleep(0.1)
    await office.deliverer.stop()
    receiver.seconds = 0.0
    office.deliverer = office.another()
    await office.deliver()
    assert receiver.kinds(job_id) == ["job.completed"]


async def test_retention_waits_for_what_is_untold(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    receiver.status = 500
    job_id = await office.job(COMPLETED)
    await office.deliver()
    house = Housekeeping(database=office.database, keep_days=1, clock_ms=lambda: office.now_ms)
    office.now_ms += (DELETED_AFTER + 1) * DAY_MS
    assert await house.round() == (0, 0)
    receiver.status = 200
    await office.deliver()
    # Three days are over: this was the last try.
    assert receiver.kinds(job_id) == ["job.completed"]
    assert await house.round() == (1, 1)


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://127.0.0.1:9/", "http://10.0.0.1/"])
async def test_no_receiver_is_at_a_private_address(office: Office, target: str) -> None:
    with pytest.raises(AddressRefused):
        await office.receivers.add(url=target, secret=None, name=None, kinds=None)


async def test_a_redirect_is_not_followed(office: Office, receiver: Receiver) -> None:
    async with receiving() as inner:
        receiver_id = await office.add(receiver)
        receiver.status, receiver.headers = 307, {"Location": inner.url}
        await office.job(COMPLETED)
        await office.deliver()
        assert inner.sent == []
        last = await office.receivers.rows.last(receiver_id)
    assert last is not None
    assert (last.status, last.state) == (307, "pending")
    assert "redirects are not followed" in str(last.error)


async def test_a_name_that_leads_to_a_private_address_later_is_refused_then(office: Office, receiver: Receiver) -> None:
    row, _ = await office.receivers.add(
        url=f"http://hooks.example:{receiver.port}/", secret=None, name=None, kinds=None
    )

    async def to_loopback(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    outbound = Outbound(resolve=to_loopback)
    office.deliverer._senders[WEBHOOK] = WebhookSender(outbound, clock_ms=lambda: office.now_ms)
    outcome = await office.deliverer.test(row)
    assert not outcome.is_delivered
    assert "INSTALLER_OUTBOUND_TARGETS" in str(outcome.error)
    assert receiver.sent == []


async def test_nothing_secret_lies_in_the_database(office: Office, receiver: Receiver, tmp_path: Path) -> None:
    receiver_id = await office.add(receiver)
    row = await office.receivers.get(receiver_id)
    assert row.shown == f"http://127.0.0.1:{receiver.port}/…"
    assert SECRET not in str(row.sealed)
    assert await office.receivers.address_of(row) == Address(url=receiver.url, secret=SECRET)
    with pytest.raises(InvalidRequest, match="whsec_"):
        await office.receivers.add(url="https://x.example", secret="short", name=None, kinds=None)


async def test_receivers_of_the_settings_come_and_go_with_them(database_url: str, tmp_path: Path) -> None:
    async with receiving() as receiver:
        given = (Address(url=receiver.url, secret=SECRET),)
        office = await Office(database_url, tmp_path, given=given).open()
        job_id = await office.job(COMPLETED)
        (row,) = await office.receivers.rows.all()
        with pytest.raises(ReceiverGiven, match="INSTALLER_WEBHOOK_URLS"):
            await office.receivers.delete(row.receiver_id)
        # A restart with the same settings keeps what is untold.
        await office.receivers.load()
        await office.deliver()
        assert receiver.kinds(job_id) == ["job.completed"]
        office.receivers._given = {}
        await office.receivers.load()
        assert await office.receivers.rows.all() == []
        await office.close()


async def test_an_append_that_fails_tells_nobody(office: Office, receiver: Receiver) -> None:
    """A delivery is in the transaction of its event: there are both, or neither."""
    await office.add(receiver)
    job_id = await office.job(STALLED)
    with pytest.raises(UnstorableEvent):
        await office.journal.append(job_id, [NewEvent(event=types.JobCompleted(**{**ENDED, "total": 2**60}))])
    before = await office.receivers.rows.pending()

    def fails(appends: object) -> object:
        raise RuntimeError("in the transaction")

    office.events._statements._outbox = lambda appends: fails  # type: ignore[assignment, return-value]
    with pytest.raises(RuntimeError):
        await office.journal.append(job_id, [NewEvent(event=COMPLETED)])
    assert await office.receivers.rows.pending() == before
    assert (await office.events.read(job_id))[-1].type == "resource_stalled"


async def test_the_end_of_a_job_that_was_deleted_is_told(office: Office, receiver: Receiver) -> None:
    await office.add(receiver)
    job_id = await office.job(COMPLETED)
    await office.events.forget(job_id)
    await office.deliver()
    assert receiver.kinds(job_id) == ["job.completed"]


async def test_without_its_key_file_a_receiver_waits_and_says_why(office: Office, receiver: Receiver) -> None:
    receiver_id = await office.add(receiver)
    key_file = office.receivers._sealing._path
    key_file.rename(key_file.with_suffix(".away"))
    job_id = await office.job(COMPLETED)
    await office.deliver()
    last = await office.receivers.rows.last(receiver_id)
    assert last is not None
    assert (last.state, "INSTALLER_KEY_FILE" in str(last.error)) == ("pending", True)
    key_file.with_suffix(".away").rename(key_file)
    await office.deliver(hours=0.1)
    assert receiver.kinds(job_id) == ["job.completed"]


async def test_services_that_begin_at_once_name_the_same_receivers(database_url: str, tmp_path: Path) -> None:
    given = (Address(url="https://hooks.example/a", secret=SECRET),)
    office = await Office(database_url, tmp_path).open()
    office.receivers._given = {address.stable_id: address for address in given}
    await asyncio.gather(*(office.receivers.load() for _ in range(8)))
    assert [row.shown for row in await office.receivers.rows.all()] == ["https://hooks.example/…"]
    await office.close()
