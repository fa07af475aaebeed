"""The tables: the log, the projection of each stream as one row of jobs and one row for each resource, the replicas,
the keys, and who is told of events.

The columns of the projection follow from its fields in events/job.py, so that Python names a projected field once: a
whole number has 64 bits, a field that may be None is nullable. The tables here add only what a database needs beside
that: keys, indexes, lengths, defaults. ``alembic check`` finds the migration that a new field still needs.
"""

from __future__ import annotations

from collections.abc import Collection
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

from service.events.job import Job, ResourceProgress

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# 64 bits on every engine. SQLite's INTEGER has them, and only a column of that very type can be its autoincrement key.
WHOLE_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

# Texts whose order means something have the order of their bytes, as SQLite's have.
ORDERED_TEXT = Text().with_variant(Text(collation="C"), "postgresql")

_TYPES: dict[type, TypeEngine[Any]] = {bool: Boolean(), int: WHOLE_NUMBER, float: Float()}
# Texts with a bound; all others have none.
_LENGTHS = {
    "job_id": 36,
    "retry_of": 36,
    "state": 20,
    "link": 20,
    "phase": 20,
    "verified": 20,
    "stage": 40,
    "cause": 40,
    "card_sha256": 64,
    "body_sha256": 64,
}
_ORDERED = ("place",)
# A column that a migration adds and that may not be null needs a value for existing rows.
_DEFAULTS = {
    "parallel": "1",
    "max_attempts": "3",
    "verify": "1",
    "reinstall": "0",
    "removes": "[]",
    "place": "",
    "phase": "download",
    "epoch": "0",
    "events_format": "1",
}


def _columns(projection: type[NamedTuple], *, without: Collection[str]) -> list[Column[Any]]:
    """A column for each field of the projection."""
    fields = {name: hint for name, hint in get_type_hints(projection).items() if name not in without}
    return [
        Column(name, _type(name, hint), nullable=NoneType in get_args(hint), server_default=_DEFAULTS.get(name))
        for name, hint in fields.items()
    ]


def _type(name: str, hint: Any) -> TypeEngine[Any]:
    if name in _LENGTHS:
        return String(_LENGTHS[name])
    if name in _ORDERED:
        return ORDERED_TEXT
    kinds = (hint, *get_args(hint))
    return next((column_type for kind, column_type in _TYPES.items() if kind in kinds), Text())


def _unique_where(name: str, column: str, condition: str) -> Index:
    """At most one row that meets the condition has the same value in this column."""
    return Index(name, column, unique=True, sqlite_where=text(condition), postgresql_where=text(condition))


# A stream is read by (job_id, sequence); `position` is the order of the whole log. The unique pair is also the fence
# against a second writer.
events = Table(
    "events",
    metadata,
    Column("position", WHOLE_NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False),
    Column("sequence", WHOLE_NUMBER, nullable=False),
    Column("type", String(40), nullable=False),
    Column("version", WHOLE_NUMBER, nullable=False),
    Column("at_ms", WHOLE_NUMBER, nullable=False),
    Column("resource", Text),
    Column("attempt", WHOLE_NUMBER),
    Column("source_offset", WHOLE_NUMBER),
    Column("data_json", Text, nullable=False),
    UniqueConstraint("job_id", "sequence"),
    sqlite_autoincrement=True,
)

# `number` is the order in which the jobs were enqueued; the place that a job begins with is made of it (places.py). The
# last event is looked up in the log: a copy of its sequence and time here would be one more update for every line.
jobs = Table(
    "jobs",
    metadata,
    Column("number", WHOLE_NUMBER, primary_key=True, autoincrement=True),
    *_columns(Job, without=("last_sequence", "last_at_ms", "resources")),
    Column("instance_key", ORDERED_TEXT, nullable=False, server_default=""),
    UniqueConstraint("job_id"),
    Index(None, "state", "number"),
    Index(None, "state", "instance_key", "place"),
    Index(None, "retry_of"),
    Index(None, "ended_at_ms"),
    Index(None, "idempotency_key", unique=True),
    # Whoever looks before it appends may be overtaken by another; these rules hold for all of them.
    _unique_where(
        "uq_jobs_busy_instance", "instance_key", "started_at_ms IS NOT NULL AND state IN ('running', 'paused')"
    ),
    _unique_where("uq_jobs_active_retry", "retry_of", "state IN ('queued', 'running', 'paused')"),
    Index(
        "ix_jobs_owner",
        "owner",
        sqlite_where=text("state IN ('running', 'paused')"),
        postgresql_where=text("state IN ('running', 'paused')"),
    ),
    sqlite_autoincrement=True,
)

# Who is told of events, and what each of them has still to be told or was told: a row of deliveries for each pair of
# event and receiver, written in the transaction of the event. The row of one that ended stays a while, to be shown.
# `sealed` is null for a receiver that the settings name.
receivers = Table(
    "receivers",
    metadata,
    Column("receiver_id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("shown", Text, nullable=False),
    Column("sealed", Text),
    # The kinds of what is told, each between commas: ",completed,failed,".
    Column("kinds", Text, nullable=False),
    Column("created_at_ms", WHOLE_NUMBER, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", WHOLE_NUMBER, primary_key=True, autoincrement=True),
    # Not a foreign key: a receiver that goes at the same moment would make an append fail.
    Column("receiver_id", String(36), nullable=False),
    Column("job_id", String(36), nullable=False),
    Column("sequence", WHOLE_NUMBER, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("at_ms", WHOLE_NUMBER, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(10), nullable=False, server_default="pending"),
    Column("tries", WHOLE_NUMBER, nullable=False, server_default="0"),
    Column("next_at_ms", WHOLE_NUMBER, nullable=False),
    Column("claimed_until_ms", WHOLE_NUMBER, nullable=False, server_default="0"),
    Column("ended_at_ms", WHOLE_NUMBER),
    Column("status", WHOLE_NUMBER),
    Column("error", Text),
    UniqueConstraint("job_id", "sequence", "receiver_id"),
    Index(None, "receiver_id", "state", "next_at_ms"),
    Index(None, "state", "next_at_ms"),
    sqlite_autoincrement=True,
)

# The services that share the log. A number is never given twice; a replica whose row is gone has lost its jobs. Times
# are the database's own; without a time a lease never ends: that of a service which has the database for itself.
# `session`: the name that the database knows its connections by. `events_format`: the newest that it reads.
replicas = Table(
    "replicas",
    metadata,
    Column("replica_id", WHOLE_NUMBER, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at_ms", WHOLE_NUMBER, nullable=False),
    Column("library_sha256", String(64)),
    Column("lease_until_ms", WHOLE_NUMBER),
    Column("session", Text),
    Column("events_format", WHOLE_NUMBER, nullable=False, server_default="1"),
    sqlite_autoincrement=True,
)

# The key that the replicas know of an instance; a person's own are in the file of each.
known_hosts = Table(
    "known_hosts",
    metadata,
    Column("host", Text, primary_key=True),
    Column("port", WHOLE_NUMBER, primary_key=True, autoincrement=False),
    Column("algorithm", String(40), nullable=False),
    Column("key", Text, nullable=False),
)

# One row: the oldest revision whose version of the service can work with these tables.
works_from = Table("works_from", metadata, Column("revision", String(32), primary_key=True))

job_resources = Table(
    "job_resources",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("number", WHOLE_NUMBER, primary_key=True, autoincrement=False),
    *_columns(ResourceProgress, without=("number",)),
    # Where a card was installed.
    Index(None, "resource"),
)

# The keys of the user for other sites, each encrypted with the key file of the service (sealing.py).
keys = Table(
    "keys",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("set_at_ms", WHOLE_NUMBER, nullable=False),
)
