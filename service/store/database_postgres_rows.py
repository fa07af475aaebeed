"""PostgreSQL's statements for many rows at once: the hot path of the writer.

The rows travel as one parameter, a JSON text that ``json_to_recordset`` takes apart, so that a commit has at most six
statements whatever its size, and its statements travel together: the connection's pipeline sends them with BEGIN and
COMMIT, and waits once. (``executemany`` and ``unnest`` of arrays take twice as long at 128 rows, and five to ten times
the processor time here; COPY as long as JSON, but it cannot update and cannot be part of a pipeline.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from psycopg.pq import PipelineStatus
from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

# Where a connection of the writer keeps the ExitStack of its transaction.
AT_THE_END = "at_the_end"
_DIALECT = psycopg_dialect()  # type: ignore[no-untyped-call]


class RowsStatement:
    """A PreparedStatement. ``sql`` has one parameter: the rows, as a JSON list of objects with these names."""

    def __init__(self, sql: str, names: Sequence[str]) -> None:
        self.sql = sql
        self._names = tuple(str(name) for name in names)

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        text = orjson.dumps([dict(zip(self._names, row, strict=True)) for row in rows]).decode()
        send_together(connection)
        connection.exec_driver_sql(self.sql, (text,))


def send_together(connection: Connection) -> None:
    """From here to the end of the transaction a statement waits for an answer only if it reads one."""
    raw: Any = connection.connection.driver_connection
    if raw.pgconn.pipeline_status == PipelineStatus.OFF:
        connection.info[AT_THE_END].enter_context(raw.pipeline())


def insert_of(table: Table, names: Sequence[str]) -> RowsStatement:
    """Insert rows of these columns."""
    columns = ", ".join(map(_quoted, names))
    sql = f"INSERT INTO {_quoted(table.name)} ({columns}) SELECT {columns} FROM {_recordset(table, names)}"  # noqa: S608
    return RowsStatement(sql, names)


def update_of(table: Table, names: Sequence[str], keys: Sequence[str]) -> RowsStatement:
    """Update these columns of the rows that the keys name. A row binds the columns, then the keys."""
    target, all_names = _quoted(table.name), (*names, *keys)
    changes = ", ".join(f"{_quoted(name)} = changed.{_quoted(name)}" for name in names)
    found = " AND ".join(f"{target}.{_quoted(key)} = changed.{_quoted(key)}" for key in keys)
    sql = f"UPDATE {target} SET {changes} FROM {_recordset(table, all_names)} WHERE {found}"  # noqa: S608
    return RowsStatement(sql, all_names)


def _recordset(table: Table, names: Sequence[str]) -> str:
    typed = ", ".join(f"{_quoted(name)} {table.c[name].type.compile(_DIALECT)}" for name in names)
    return f"json_to_recordset(%s::json) AS changed({typed})"


_quoted = _DIALECT.identifier_preparer.quote
