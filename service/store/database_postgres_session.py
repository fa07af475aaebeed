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
from sqlalchemy import URL, Connection, Engine, event, text
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

_UNDER_WAY = text(
    "SELECT pid FROM (SELECT pid, CASE WHEN wait_event = 'ClientRead' THEN pg_terminate_backend(pid) END"
    " FROM pg_stat_activity WHERE application_name = :session AND pid = ANY(:processes) AND pid <> pg_backend_pid()"
    " OFFSET 0) AS found"
)

# Whether a reader sees what was just written, and the revision that it sees.
READERS = text("SELECT pg_is_in_recovery() AS is_standby, (SELECT version_num FROM alembic_version) AS revision")


def session_options(**more: str) -> str:
    """For the server: the limits of a session, and more settings."""
    return " ".join(f"-c {name}={value}" for name, value in {**LIMITS, **more}.items())


def name_of(url: URL) -> str:
    """What this URL names, for people: without the user and the password."""
    hosts = url.translate_connect_args().get("host") or url.query.get("host") or "the local socket"
    several = [hosts] if isinstance(hosts, str) else hosts
    port = f":{url.port or 5432}" if url.host or not url.query.get("host") else ""
    return f"{','.join(several)}{port}/{url.database}"


def readers_arguments(url: URL, *, is_pooler: bool) -> dict[str, Any]:
    """How readers connect: they write nothing. Where the URL asks for a server that can be written, theirs is the same
    one: such a server is found by trying, and a session that is read-only by itself would never be one.

    ``is_pooler``: each statement may go to another session of the server, which has settings of its own and knows no
    statement that was prepared.
    """
    if is_pooler:
        return {**NETWORK, "prepare_threshold": None}
    arguments = {**NETWORK, "options": session_options(default_transaction_read_only="on")}
    if url.query.get("target_session_attrs") == "read-write":
        arguments["target_session_attrs"] = "primary"
    return arguments


def process_of(connection: Connection) -> int:
    """The server's process at the other end."""
    raw: Any = connection.connection.driver_connection
    return int(raw.info.backend_pid)


def under_way(connection: Connection, session: str, processes: set[int]) -> set[int]:
    """Which of these processes of a session of ours are still there. One that waits for what we send no more is ended;
    one that waits for its commit is not: its standby would be left out."""
    found = connection.execute(_UNDER_WAY, {"session": session, "processes": list(processes)}).scalars().all()
    connection.rollback()
    return set(found)


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


def be_durable(dbapi_connection: Any, _record: Any) -> None:
    """Give commits the durability that was promised: on this server's disk, and on the standby that it names. Without a
    commit, whose reply could be lost as any other's."""
    dbapi_connection.autocommit = True
    with dbapi_connection.cursor() as cursor:
        cursor.execute(
            "select set_config('synchronous_commit', 'on', false)"
            " where current_setting('synchronous_commit') in ('off', 'local')"
        )
    dbapi_connection.autocommit = False


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
