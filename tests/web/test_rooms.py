"""The rooms on a transport of lists: who receives which events, and how a client that does not read is served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.events import event_types as types
from service.events.event_types import Event
from service.events.recorded_event import RecordedEvent
from service.web.rooms import LIVE_QUEUE_MAX, SUBSCRIPTIONS_MAX, Rooms, Subscription

LINE = types.Output(line="x")
DONE = types.JobCompleted(installed=1, total=1, results=[])


class Lists:
    """A transport whose clients never read."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Any]] = defaultdict(list)
        self.encoded = 0

    def encode(self, events: Sequence[RecordedEvent]) -> Any:
        self.encoded += 1
        return events

    def packet(self, name: str, payload_json: str) -> Any:
        return [(name, payload_json)]

    def send(self, engine_sid: str, encoded: Any) -> None:
        self.queues[engine_sid] += encoded

    def queued(self, engine_sid: str) -> int:
        return len(self.queues[engine_sid])


class World:
    def __init__(self) -> None:
        self.transport = Lists()
        self.rooms = Rooms(self.transport)
        self.replayed: list[Subscription] = []

    def subscribe(self, sid: str, job_id: str = "job", after: int = 0) -> Subscription:
        self.rooms.admit(sid)
        subscription = Subscription(sid, f"eio-{sid}", job_id, after, self.replayed.append)
        self.rooms.subscribe(subscription)
        return subscription

    def live(self, sid: str, job_id: str = "job") -> Subscription:
        subscription = self.subscribe(sid, job_id)
        self.rooms.join(subscription)
        return subscription

    def publish(self, *sequences: int, event: Event = LINE, job_id: str = "job") -> None:
        events = [RecordedEvent(n, job_id, n, event.type, event.version, 0, None, None, None, "{}") for n in sequences]
        self.rooms.publish(job_id, events)

    def sent(self, sid: str) -> int:
        return len(self.transport.queues[f"eio-{sid}"])


@pytest.fixture
def world() -> World:
    return World()


async def test_members_of_a_room_are_sent_what_was_encoded_once(world: World) -> None:
    one, other, elsewhere = world.live("a"), world.live("b"), world.live("c", "another")
    replaying = world.subscribe("d")
    world.publish(1, 2)
    assert [world.sent(sid) for sid in "abcd"] == [2, 2, 0, 0]
    assert (one.after, other.after, elsewhere.after, replaying.after) == (2, 2, 0, 0)
    assert world.transport.encoded == 1
    assert world.rooms.replaying() == [("job", 0)]
    assert world.rooms.client_count == 4


async def test_a_client_that_does_not_read_leaves_the_room_and_is_replayed(world: World) -> None:
    slow, other = world.live("a"), world.live("b")
    world.publish(*range(1, LIVE_QUEUE_MAX + 1))
    world.transport.queues["eio-b"].clear()
    assert world.replayed == []
    world.publish(LIVE_QUEUE_MAX + 1, LIVE_QUEUE_MAX + 2)
    assert world.replayed == [slow]
    # Its cursor stays at the last event in its queue: the replay begins there.
    assert slow.after == LIVE_QUEUE_MAX == world.sent("a")
    assert (other.after, world.sent("b")) == (LIVE_QUEUE_MAX + 2, 2)
    assert world.rooms.is_current(slow)


async def test_the_terminal_event_ends_the_subscriptions(world: World) -> None:
    subscription = world.live("a")
    world.publish(1, event=DONE)
    assert world.sent("a") == 1
    assert not world.rooms.is_current(subscription)
    world.publish(2)
    assert world.sent("a") == 1


async def test_a_new_subscription_replaces_the_old_one(world: World) -> None:
    old = world.live("a")
    new = world.subscribe("a", after=5)
    assert (world.rooms.is_current(old), world.rooms.is_current(new)) == (False, True)
    # A replay of the old one that ends late must not bring it back.
    world.rooms.join(old)
    world.publish(6)
    assert (world.sent("a"), old.after, new.after) == (0, 0, 5)


async def test_a_client_that_is_gone_has_no_subscriptions(world: World) -> None:
    subscription = world.live("a")
    world.rooms.dismiss("a")
    world.publish(1)
    world.rooms.join(subscription)
    world.publish(2)
    assert (world.sent("a"), world.rooms.client_count, world.rooms.all()) == (0, 0, [])
    with pytest.raises(InvalidRequest, match="not connected"):
        world.rooms.subscribe(subscription)


def test_a_client_has_a_bounded_number_of_subscriptions(world: World) -> None:
    for n in range(SUBSCRIPTIONS_MAX):
        world.subscribe("a", f"job-{n}")
    with pytest.raises(InvalidRequest, match="unsubscribe_install"):
        world.subscribe("a", "one-more")
    world.subscribe("a", "job-0")
    world.subscribe("b", "one-more")
