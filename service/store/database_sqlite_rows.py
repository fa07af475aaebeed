"""SQLite's statements for many rows at once: the hot path of the writer.

Each step of a statement gives the interpreter lock back and has to wait for it again, up to the switch interval while
the event loop computes. ``executemany`` steps once a row; here one statement carries up to ROWS_MAX rows as a list of
VALUES, so that a commit waits for the lock a few times, whatever its size. What makes that cheaper than
``executemany`` even when nothing else runs:

1. The numbers of rows are powers of two, so that SQLite's driver keeps each statement prepared: any number of rows is
   a few statements.
2. ``OR FAIL``: without it SQLite copies every page that a statement of several rows touches, to undo that statement
   alone, into a temporary file. Here an error undoes the whole transaction.
3. The driver runs a statement itself: SQLAlchemy would cost as much again, in a small commit.
4. The values are bound one by one, as ``executemany`` does: what a column holds does not depend on the number of rows.
   (One parameter of JSON and ``json_each`` costs six times as much, and turns large integers into REAL.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from types import NoneType
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.exc import DBAPIError

ROWS_MAX = 256

# In each None the driver looks for an adapter, and where there is none, for methods that adapt: 20 times the cost of a
# number.
sqlite3.register_adapter(NoneType, lambda none: none)

Rows = Sequence[tuple[Any, ...]]


class RowsStatement:
    """A PreparedStatement. ``sql_for``: the text for a number of rows."""

    def __init__(self, sql_for: Callable[[int], str]) -> None:
        # The driver finds a prepared statement again by its text: each is made once, and kept.
        self.sql_for = lru_cache(maxsize=None)(sql_for)

    def run(self, connection: Connection, rows: Rows) -> None:
        for piece in _pieces(rows):
            execute(connection, self.sql_for(len(piece)), tuple(chain.from_iterable(piece)))


def insert_of(table: Table, names: Sequence[str]) -> RowsStatement:
    """Insert rows of these columns."""
    into = f"INSERT OR FAIL INTO {_quoted(table.name)} ({', '.join(map(_quoted, names))}) "
    return RowsStatement(lambda rows: into + _values(rows, len(names)))


def update_of(table: Table, names: Sequence[str], keys: Sequence[str]) -> RowsStatement:
    """Update these columns of the rows that the keys name. A row binds the columns, then the keys."""
    target = _quoted(table.name)
    changes = ", ".join(f"{_quoted(name)} = changed.column{n}" for n, name in enumerate(names, start=1))
    found = " AND ".join(
        f"{target}.{_quoted(key)} = changed.column{n}" for n, key in enumerate(keys, start=len(names) + 1)
    )
    update = f"UPDATE OR FAIL {target} SET {changes} FROM"  # noqa: S608 - names of our own tables
    return RowsStatement(lambda rows: f"{update} ({_values(rows, len(names) + len(keys))}) AS changed WHERE {found}")


def execute(connection: Connection, sql: str, values: tuple[Any, ...] = ()) -> None:
    """Run it as the driver does, with SQLAlchemy's errors."""
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(sql, values)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, None, error, sqlite3.Error) from error


def _pieces(rows: Rows) -> Iterator[Rows]:
    """The rows in order, in pieces of a power of two each, the largest first."""
    begin = 0
    while begin < len(rows):
        size = min(ROWS_MAX, 1 << (len(rows) - begin).bit_length() - 1)
        yield rows[begin : begin + size]
        begin += size


def _values(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


_quoted = sqlite_dialect().identifier_preparer.quote
