"""The three tables: the log, and the projection of each stream as a row of jobs and the rows of its resources."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A stream is read by (job_id, sequence); `position` is the order of the whole log. The unique pair is also the fence
# against a second writer.
events = Table(
    "events",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("type", String(40), nullable=False),
    Column("version", Integer, nullable=False),
    Column("at_ms", Integer, nullable=False),
    Column("resource", Text),
    Column("attempt", Integer),
    Column("source_offset", Integer),
    Column("data_json", Text, nullable=False),
    UniqueConstraint("job_id", "sequence"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("link", String(20)),
    Column("ssh_host", Text, nullable=False),
    Column("ssh_port", Integer, nullable=False),
    Column("ssh_user", Text, nullable=False),
    Column("host_key_sha256", Text),
    Column("ui_home", Text, nullable=False),
    Column("created_at_ms", Integer, nullable=False),
    Column("started_at_ms", Integer),
    Column("ended_at_ms", Integer),
    Column("error", Text),
    Column("cause", String(40)),
    Index(None, "state", "number"),
    Index(None, "ssh_host", "ssh_port", "state"),
    sqlite_autoincrement=True,
)

job_resources = Table(
    "job_resources",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("resource", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("dependencies", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("card_sha256", String(64)),
    Column("started_at_ms", Integer),
    Column("ended_at_ms", Integer),
    Column("name", Text),
    Column("stage", String(40)),
    Column("percent", Integer),
    Column("downloaded_bytes", Integer),
    Column("total_bytes", Integer),
    Column("bytes_per_second", Float),
    Column("eta_seconds", Float),
    Column("source_offset", Integer, nullable=False),
    Column("cause", String(40)),
    Column("error", Text),
    Column("hint", Text),
    Column("exit_code", Integer),
    Column("seconds", Float),
)
