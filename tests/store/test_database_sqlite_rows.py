"""Many rows in few statements: all of them, in order, and each value as a row alone would hold it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from service.store.database_sqlite_rows import ROWS_MAX, insert_of, update_of
from service.store.rows import PROGRESS_CHANGES
from service.store.tables import job_resources, metadata

KEYS = ("job_id", "number")
NAMES = (*KEYS, "value")
# Without types, so that a column holds a value as it came.
PLAIN = Table("plain", MetaData(), *(Column(name) for name in NAMES))
VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1 << 53,
    (1 << 63) - 1,
    -(1 << 63),
    0.1,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    "",
    "a zero \0 inside",
    "✓ 漢字 \U0001f600 \N{RIGHT-TO-LEFT OVERRIDE}",
    'it\'s "quoted" \\ [1, null]',
    b"",
    b"\x00\xff",
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{tmp_path / 'rows.sqlite3'}", poolclass=StaticPool)
    metadata.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("create table plain (job_id, number, value, unique (job_id, number))")
        yield connection
    engine.dispose()


def found(connection: Connection) -> Sequence[Any]:
    return connection.exec_driver_sql("select job_id, number, value from plain order by rowid").all()


@pytest.mark.parametrize("count", [1, 2, 3, 16, 127, ROWS_MAX - 1, ROWS_MAX, ROWS_MAX + 1, 3 * ROWS_MAX + 77])
def test_all_rows_are_inserted_and_updated_in_order(connection: Connection, count: int) -> None:
    insert_of(PLAIN, NAMES).run(connection, [("a", n, "old") for n in range(count)])
    update_of(PLAIN, ("value",), KEYS).run(connection, [(f"new {n}", "a", n) for n in range(count) if n % 3])
    assert found(connection) == [("a", n, f"new {n}" if n % 3 else "old") for n in range(count)]


@pytest.mark.parametrize("times", [1, 2, 40])
def test_a_value_is_held_as_a_row_alone_would_hold_it(connection: Connection, times: int) -> None:
    connection.exec_driver_sql("create table alone (value)")
    connection.exec_driver_sql("insert into alone values (?)", [(value,) for value in VALUES])
    wanted = list(connection.exec_driver_sql("select typeof(value), value from alone order by rowid").all()) * times
    held = "select typeof(value), value from plain order by rowid"

    values = list(enumerate(VALUES * times))
    insert_of(PLAIN, NAMES).run(connection, [("a", n, value) for n, value in values])
    assert connection.exec_driver_sql(held).all() == wanted
    connection.exec_driver_sql("update plain set value = 'none of them'")
    update_of(PLAIN, ("value",), KEYS).run(connection, [(value, "a", n) for n, value in values])
    assert connection.exec_driver_sql(held).all() == wanted


@pytest.mark.parametrize(
    ("value", "error"),
    [(1 << 63, OverflowError), (object(), Exception), ("a lone \ud800 surrogate", UnicodeEncodeError)],
    ids=["too large", "no type", "no text"],
)
def test_a_value_that_sqlite_cannot_hold_is_an_error_among_any_number(
    connection: Connection, value: object, error: type[Exception]
) -> None:
    for count in (1, 5, ROWS_MAX):
        rows = [("a", n, value if n == count // 2 else n) for n in range(count)]
        with pytest.raises(error), connection.begin_nested():
            insert_of(PLAIN, NAMES).run(connection, rows)


def test_a_row_that_is_there_already_is_an_error_and_the_transaction_can_be_undone(connection: Connection) -> None:
    connection.commit()
    with connection.begin():
        insert_of(PLAIN, NAMES).run(connection, [("a", 7, "first")])
    with pytest.raises(IntegrityError), connection.begin():
        insert_of(PLAIN, NAMES).run(connection, [("a", n, "again") for n in range(20)])
    assert found(connection) == [("a", 7, "first")]


@pytest.mark.parametrize(("count", "statements_max"), [(16, 1), (255, 8), (512, 2), (4_095, 23)])
def test_the_number_of_statements_hardly_grows_with_the_rows(
    connection: Connection, count: int, statements_max: int
) -> None:
    ran: list[str] = []
    driver: Any = connection.connection.driver_connection
    driver.set_trace_callback(ran.append)
    insert_of(PLAIN, NAMES).run(connection, [("a", n, n) for n in range(count)])
    driver.set_trace_callback(None)
    assert len(found(connection)) == count
    assert 0 < len([sql for sql in ran if sql.startswith("INSERT")]) <= statements_max


def test_an_update_finds_each_row_through_its_key(connection: Connection) -> None:
    for count in (1, 64, ROWS_MAX):
        statement = update_of(job_resources, PROGRESS_CHANGES, KEYS)
        values = (None,) * (count * (len(PROGRESS_CHANGES) + len(KEYS)))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql_for(count)}", values).all()
        searched = [row[3] for row in plan if "job_resources" in row[3]]
        assert len(searched) == 1
        assert searched[0].startswith("SEARCH job_resources USING")
