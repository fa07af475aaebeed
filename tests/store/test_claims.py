"""A look for the next job follows the instances and not the jobs, whatever the server knows of its tables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql

from service.events.event_types import JobStarted
from service.events.recorded_event import NewEvent
from service.store.jobs import _NEXT_TO_CLAIM
from tests.store.conftest import Store, queued

JOBS, ROWS_MAX = 300, 10


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize("query", [_NEXT_TO_CLAIM[0], _NEXT_TO_CLAIM[-1]], ids=["one", "many"])
@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_a_look_reads_the_heads_of_the_queues_alone(
    postgres_url: str, is_analyzed: bool, query: Select[Any]
) -> None:
    store = await Store(postgres_url).open()
    try:
        first = await store.journal.enqueue(queued("busy"))
        await store.journal.append(first.job_id, [NewEvent(event=JobStarted())])
        hosts = ["busy", "free", "another"]
        await asyncio.gather(*(store.journal.enqueue(queued(hosts[n % len(hosts)])) for n in range(JOBS)))
        if is_analyzed:
            await store.database.write(lambda connection: connection.execute(text("analyze")).close())
        [found] = await store.queue.next_to_claim()
        assert found.ssh_host != "busy"

        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        compiled = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        async with store.database.read() as connection:
            explained = await connection.exec_driver_sql(f"explain (analyze, format json) {compiled}")
            plan = explained.scalar_one()
        [top] = plan if isinstance(plan, list) else json.loads(plan)
        big = [node for node in nodes(top["Plan"]) if node["Actual Rows"] * node["Actual Loops"] > ROWS_MAX]
        assert not big
    finally:
        await store.close()
