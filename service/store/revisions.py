"""The revision of a database's tables, and the way from an earlier one to the newest; the same for every engine.

The revisions are read from the migrations' files: Alembic itself would take 12 MB of memory for good, so only a
database that has to be upgraded loads it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, delete, insert, inspect, select, text

from service.errors import DatabaseNewer
from service.store.tables import metadata, works_from

# Replicas are upgraded one after the other, so an earlier version works on with the tables of this one. A revision that
# takes something away from them, a release after nothing needs it any more, raises this.
WORKS_FROM = "0007"
_REVISION = re.compile(r"""^(revision|down_revision)\b[^=\n]*= *['"](\w+)['"]""", re.MULTILINE)
# As Alembic makes it.
_CREATE_VERSION = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc "
    "PRIMARY KEY (version_num))"
)


def newest_revision() -> str:
    """The revision that this version of the service needs."""
    return _known_revisions()[1]


def revision_of(connection: Connection) -> str | None:
    """The revision of this database; None for one that has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.scalar(text("select version_num from alembic_version"))
    return None if revision is None else str(revision)


def works_with(connection: Connection) -> bool:
    """Whether this version can work with the tables as they are: they are its own, or those of a newer version which
    says that they still do for this one."""
    known, head = _known_revisions()
    revision = revision_of(connection)
    return revision == head or (revision is not None and revision not in known and _oldest(connection) in known)


def upgrade_to_newest(connection: Connection) -> None:
    """Make the tables in an empty database as they are now; take one of an earlier version through the migrations, and
    leave one of a newer version as it is if this version can work with it.

    Raises DatabaseNewer.
    """
    known, head = _known_revisions()
    revision = revision_of(connection)
    if revision is not None and revision not in known:
        if works_with(connection):
            return
        raise DatabaseNewer(
            f"the database is at revision {revision}, which this version does not know: "
            "start the newer version of the service that wrote it, or name another INSTALLER_DATABASE_URL"
        )
    tables = inspect(connection).get_table_names()
    if revision is None and not metadata.tables.keys() & set(tables):
        metadata.create_all(connection)
        connection.execute(text(_CREATE_VERSION))
        connection.execute(text("insert into alembic_version values (:head)"), {"head": head})
    elif revision != head:
        _migrate(connection)
    if _oldest(connection) != WORKS_FROM:
        connection.execute(delete(works_from))
        connection.execute(insert(works_from), [{"revision": WORKS_FROM}])


def _oldest(connection: Connection) -> str | None:
    """The oldest revision whose version of the service can work with these tables, as the newest one said."""
    if not inspect(connection).has_table(works_from.name):
        return None
    oldest = connection.scalar(select(works_from.c.revision))
    return None if oldest is None else str(oldest)


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _migrations() -> Path:
    """The migrations that this installation carries."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


@cache
def _known_revisions() -> tuple[set[str], str]:
    """All revisions, and the newest."""
    known, followed = set(), set()
    for path in (_migrations() / "versions").glob("*.py"):
        found = dict(_REVISION.findall(path.read_text(encoding="utf-8")))
        known.add(found["revision"])
        followed.add(found.get("down_revision"))
    (head,) = known - followed
    return known, head
