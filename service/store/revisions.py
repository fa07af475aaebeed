"""The revision of a database's tables, and the way from an earlier one to the newest; the same for every engine.

The revisions are read from the migrations' files: Alembic itself would take 12 MB of memory for good, so only a
database that has to be upgraded loads it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from service.errors import DatabaseNewer
from service.store.tables import metadata

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


def upgrade_to_newest(connection: Connection) -> None:
    """Make the tables in an empty database as they are now; take one of an earlier version through the migrations.

    Raises DatabaseNewer.
    """
    known, head = _known_revisions()
    revision = revision_of(connection)
    if revision is not None and revision not in known:
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
