"""What a stranger can hold, on a registry with a clock of the test and transports that remember; no socket is open."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest

from service.errors import TooManyGuesses
from service.web import strangers
from service.web.connection import Connection
from service.web.connections import Connections
from service.web.peers import GUESS_SECONDS, GUESSES_AT_ONCE, GUESSING_PEERS_MAX, Peers, TokenBrake
from service.web.request_head import HEAD_BYTES_MAX


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.protocol: Connection | None = None

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            assert self.protocol is not None
            self.protocol.connection_lost(None)


class Handler(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


class World:
    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.registry = Connections(clock=lambda: self.now, **options)

    def open(self, address: str = "127.0.0.1") -> Connection:
        """A client comes, a second after the one before, and is let in."""
        self.now += 1
        assert self.registry.make_room(address)
        return self.accepted(address)

    def accepted(self, address: str = "127.0.0.1") -> Connection:
        connection = self.registry.new(Handler(), address)
        transport = Transport()
        transport.protocol = connection
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection

    async def sweep(self, seconds: float) -> None:
        self.now += seconds
        await self.registry._sweep()


def is_open(*connections: Connection) -> list[bool]:
    return [connection.transport is not None for connection in connections]


def ask(connection: Connection) -> None:
    """A whole request, and its answer."""
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    connection.began()
    connection.forgiven()
    connection.ended()


# --- number ---------------------------------------------------------------------------------------------------------


def test_the_longest_idle_stranger_gives_way() -> None:
    world = World(connections_max=3)
    first, second, third = (world.open() for _ in range(3))
    ask(first)
    fourth = world.open()
    assert is_open(first, second, third, fourth) == [True, False, True, True]


def test_bytes_that_trickle_in_are_no_sign_of_life() -> None:
    world = World(connections_max=2)
    slow, idle = world.open(), world.open()
    world.now += 5
    slow.data_received(b"GET / HT")
    world.open()
    assert is_open(slow, idle) == [False, True]


def test_the_token_and_a_subscription_stay() -> None:
    world = World(connections_max=3)
    known, follower, stranger = (world.open() for _ in range(3))
    known.began()
    known.know()
    follower.began()
    follower.subscribe()
    newcomer = world.open()
    assert is_open(known, follower, stranger) == [True, True, False]
    newcomer.subscribe()
    # Now nobody is left who could give way.
    assert not world.registry.make_room("127.0.0.1")
    follower.unsubscribe()
    assert world.registry.make_room("127.0.0.1")
    assert is_open(known, follower, newcomer) == [True, False, True]


def test_who_showed_the_token_once_shows_it_again() -> None:
    world = World(connections_max=1)
    client = world.open()
    client.began()
    client.know()
    client.ended()
    assert not world.registry.make_room("127.0.0.1")
    client.began()
    world.open()
    assert is_open(client) == [False]


def test_those_who_are_accepted_and_not_open_yet_count() -> None:
    world = World(connections_max=3)
    first = world.open()
    assert world.registry.make_room("127.0.0.1", accepted=1)
    assert is_open(first) == [True]
    assert world.registry.make_room("127.0.0.1", accepted=2)
    assert is_open(first) == [False]


def test_one_address_beyond_loopback_has_a_bound_of_its_own() -> None:
    world = World(peer_max=2)
    others = [world.open("203.0.113.9"), *(world.open() for _ in range(5))]
    mine = [world.open("203.0.113.5") for _ in range(3)]
    assert is_open(*mine) == [False, True, True]
    for one in mine[1:]:
        one.subscribe()
    assert not world.registry.make_room("203.0.113.5")
    assert all(is_open(*others))


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("10.0.0.7", None),
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", None),
    ],
)
def test_peers(address: str, peer: str | None) -> None:
    assert Peers([ipaddress.ip_network("10.0.0.0/8")]).of_address(address) == peer


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        (["203.0.113.5"], "203.0.113.5"),
        (["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
        (["198.51.100.1", "203.0.113.5, 10.1.1.1"], "203.0.113.5"),
        (["203.0.113.5:4711"], "203.0.113.5"),
        (["[2001:db8::1]:4711"], "2001:db8::/64"),
        (["10.1.1.1, 10.2.2.2"], None),
        (["nonsense"], None),
        (["127.0.0.1"], None),
        ([], None),
    ],
)
def test_a_proxy_says_for_whom_it_asks(headers: list[str], peer: str | None) -> None:
    """What the client itself wrote stands before what the proxy added."""
    assert Peers([ipaddress.ip_network("10.0.0.0/8")]).of_forwarded(headers) == peer


# --- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 7, 1_000, 100_000])
def test_a_head_is_bounded_however_it_comes(piece: int) -> None:
    world = World()
    for size, is_let_in in ((HEAD_BYTES_MAX - 100, True), (HEAD_BYTES_MAX + 100, False)):
        connection = world.open()
        transport: Any = connection.transport
        head = b"GET / HTTP/1.1\r\nX: " + b"a" * (size - 24) + b"\r\n\r\n"
        for at in range(0, len(head), piece):
            connection.data_received(head[at : at + piece])
        assert is_open(connection) == [is_let_in]
        assert transport.written.startswith(b"HTTP/1.1 431") is not is_let_in


@pytest.mark.parametrize("piece", [1, 3, 100_000])
def test_a_body_is_no_head(piece: int) -> None:
    world = World()
    connection = world.open()
    data = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    for at in range(0, len(data), piece):
        connection.data_received(data[at : at + piece])
    assert is_open(connection) == [True]
    handler: Any = connection._handler
    assert handler.received == data


def test_what_all_have_sent_and_nobody_answered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "UNANSWERED_BYTES_MAX", 100_000)
    world = World()
    small, large, known = (world.open() for _ in range(3))
    for connection in (small, large, known):
        connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        connection.began()
    known.know()
    known.data_received(b"x" * 200_000)
    small.data_received(b"x" * 10_000)
    large.data_received(b"x" * 80_000)
    assert is_open(small, large, known) == [True] * 3
    world.open().data_received(b"x" * 12_000)
    assert is_open(small, large, known) == [True, False, True]
    assert world.registry._strangers.unanswered < 100_000


def test_a_websocket_that_has_not_joined_may_send_little() -> None:
    world = World()
    connection = world.open()
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    connection.began()
    connection.forgiven()
    connection.is_websocket = True
    for _ in range(40):
        connection.data_received(b"x" * 1_000)
    assert is_open(connection) == [False]


# --- seconds --------------------------------------------------------------------------------------------------------


async def test_who_is_too_slow_is_closed() -> None:
    world = World()
    silent, slow_head, slow_body, waits, joined, keeps_alive, known = (world.open() for _ in range(7))
    slow_head.data_received(b"GET / HT")
    for connection in (slow_body, waits, joined, known):
        connection.data_received(b"POST / HTTP/1.1\r\n\r\n")
        connection.began()
    for connection in (waits, joined, known):
        connection.forgiven()
    ask(keeps_alive)
    joined.admit()
    known.know()
    everybody = (silent, slow_head, slow_body, waits, joined, keeps_alive, known)
    await world.sweep(10)
    assert all(is_open(*everybody))
    slow_head.data_received(b"TP")
    slow_body.data_received(b"x")
    await world.sweep(15)
    assert is_open(*everybody) == [False, False, False, True, True, True, True]
    await world.sweep(60)
    assert is_open(*everybody) == [False, False, False, False, True, False, True]


async def test_a_client_that_reads_a_long_answer_moves() -> None:
    world = World()
    reads, stands_still = world.open(), world.open()
    for connection in (reads, stands_still):
        connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
        connection.began()
        connection.forgiven()
    for _ in range(5):
        await world.sweep(30)
        reads.moves()
    assert is_open(reads, stands_still) == [True, False]


async def test_a_writer_waits_for_its_reader_and_learns_of_its_end() -> None:
    connection = World().open()
    assert await connection.writable() is False
    connection.pause_writing()
    waiting = asyncio.create_task(connection.writable())
    await asyncio.sleep(0)
    assert not waiting.done()
    connection.resume_writing()
    assert await waiting is True
    connection.pause_writing()
    ended = asyncio.Event()
    connection.when_lost.add(ended.set)
    waiting = asyncio.create_task(connection.writable())
    await asyncio.sleep(0)
    connection.abort()
    with pytest.raises(ConnectionResetError):
        await waiting
    assert ended.is_set()


# --- guesses of the token -------------------------------------------------------------------------------------------


def test_guesses_are_slowed_down_and_forgotten() -> None:
    now = [0.0]
    brake = TokenBrake(clock=lambda: now[0])
    for _ in range(GUESSES_AT_ONCE):
        brake.check("203.0.113.5")
        brake.wrong("203.0.113.5")
    with pytest.raises(TooManyGuesses) as raised:
        brake.check("203.0.113.5")
    assert 0 < (raised.value.retry_after_seconds or 0) <= GUESS_SECONDS
    brake.check("203.0.113.6")
    now[0] += GUESS_SECONDS
    brake.check("203.0.113.5")
    brake.wrong("203.0.113.5")
    with pytest.raises(TooManyGuesses):
        brake.check("203.0.113.5")
    now[0] += GUESSES_AT_ONCE * GUESS_SECONDS
    for _ in range(GUESSES_AT_ONCE):
        brake.check("203.0.113.5")
        brake.wrong("203.0.113.5")


def test_the_brake_has_no_hold_on_loopback_and_a_bound_on_its_memory() -> None:
    brake = TokenBrake(clock=lambda: 0.0)
    for n in range(GUESSING_PEERS_MAX + 100):
        brake.check(None)
        brake.wrong(None)
        brake.wrong(f"peer-{n}")
    assert len(brake._full_at) == GUESSING_PEERS_MAX
