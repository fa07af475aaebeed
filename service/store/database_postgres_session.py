"""A session with PostgreSQL: its limits, what its errors mean, and how one that broke is noticed."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.string import StrDumper
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError

from service.errors import LeaseLost, StoreUnavailable

CONNECT_SECONDS_MAX = 5
NETWORK: Mapping[str, Any] = {
    "application_name": "resource-installer",
    "connect_timeout": CONNECT_SECONDS_MAX,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
LIMITS: Mapping[str, str] = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    # The statistics of a young database say that its tables are empty. Every query here has its index.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# What is the server's or the network's fault, by the class of its SQLSTATE: connection, transaction that may be
# repeated, read-only standby, resources, locks, operator, system.
_UNAVAILABLE = ("08", "25", "40", "53", "55", "57", "58", "XX")


def session_options(**more: str) -> str:
    """For the server: the limits of a session, and more settings."""
    return " ".join(f"-c {name}={value}" for name, value in {**LIMITS, **more}.items())


@contextmanager
def cut_after(driver: Any, seconds: float) -> Iterator[None]:
    """Within the block this connection breaks after so many seconds. The server's limits end what is slow there; where
    the network swallows the answer, only this does."""
    timer = asyncio.get_running_loop().call_later(seconds, cut, driver)
    try:
        yield
    finally:
        timer.cancel()


def cut(driver: Any) -> None:
    """Break this connection, from whatever thread: whoever waits for its answer gets an error at once."""
    try:
        descriptor = os.dup(driver.pgconn.socket)
    except (psycopg.Error, OSError):
        # It is closed already.
        return
    with socket.socket(fileno=descriptor) as copy:
        try:
            copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def watch_for_breaks(engine: Engine) -> None:
    """Let the engine's pool replace connections that broke, and let any text be asked for."""
    event.listen(engine, "connect", _let_any_text_be_asked_for)
    event.listen(engine, "checkout", _refuse_broken)


def error_of(error: DBAPIError) -> Exception:
    """What a driver's error means: StoreUnavailable for a fault of the server or the network, LeaseLost by the fence.
    Anything else is the statement's own fault."""
    if isinstance(error.orig, psycopg.errors.DivisionByZero):
        # The fence divides by the number of rows of this replica; nothing else divides.
        return LeaseLost("another replica has taken over: this one's lease had ended")
    state = getattr(error.orig, "sqlstate", None)
    is_connection = state is None and isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
    if is_connection or (state or "").startswith(_UNAVAILABLE):
        return StoreUnavailable(f"the event log cannot be used now: {reason_of(error)}")
    return error


def reason_of(error: DBAPIError) -> str:
    """The first line of what the driver says: the rest may quote what was stored."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else "no connection"


class _AnyText(StrDumper):
    """PostgreSQL's text holds neither U+0000 nor half a character. No event does (gate.py); a client may ask for one,
    and asks for what no row holds."""

    def dump(self, obj: str) -> bytes:
        return obj.replace("\0", "\ufffd").encode("utf-8", "replace")


def _let_any_text_be_asked_for(dbapi_connection: Any, _record: Any) -> None:
    driver = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    driver.adapters.register_dumper(str, _AnyText)


def _refuse_broken(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """An idle connection has nothing to say: where its socket can be read, the server has closed it. So a restart of
    the server costs its clients nothing, and no round trip finds it out."""
    driver = getattr(dbapi_connection, "driver_connection", dbapi_connection)
    if driver.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(driver.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError
