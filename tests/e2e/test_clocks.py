"""Somebody sets the machine's clock by an hour while an install runs, and a service that is asked to end twice."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime

import pytest

from tests.e2e.conftest import World
from tests.kit.invariants import check_database
from tests.kit.service import Watcher, check_stream, until

HOUR = 3600
# The first attempt fails as a resolver under load does; the second works.
CARD = """
if [ ! -e "$HOME/tried" ]; then
    touch "$HOME/tried"
    echo "Temporary failure in name resolution"
    exit 1
fi
echo again
while [ ! -e "$HOME/go" ]; do sleep 0.1; done
echo done
"""


@pytest.mark.parametrize("by_seconds", [-HOUR, HOUR])
async def test_a_clock_that_is_set_in_the_middle_of_everything(world: World, by_seconds: int) -> None:
    offset = world.folder / "clock"
    offset.write_text("0")
    settings = {"CLOCK_FILE": str(offset), "INSTALLER_MAX_ATTEMPTS": "3", "INSTALLER_RETRY_DELAY": "3"}
    await world.service.terminate()
    await world.service.start(**settings)
    card = world.card("other/again.md", CARD)
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: any(event["type"] == "resource_retry_scheduled" for event in watcher.events))
    # While it waits for the second attempt: a due time by the wall clock would be an hour away, or long past.
    offset.write_text(str(by_seconds))
    await until(lambda: any(event.get("line") == "again" for event in watcher.events))
    # And once more with a restart, which finds the log in the future or in the past.
    await watcher.leave()
    await world.service.kill()
    offset.write_text(str(-by_seconds))
    await world.service.start(**settings)
    (world.instance.home / "go").touch()
    job = await world.service.ended(job_id, 100)
    assert job["state"] == "completed", job["error"]
    history = await world.service.history(job_id)
    check_stream(history)
    at = [datetime.fromisoformat(event["at"]) for event in history]
    assert at == sorted(at)
    waited = next(event for event in history if event["type"] == "resource_retry_scheduled")
    begun = [event for event in history if event["type"] == "resource_started"]
    assert len(begun) == 2
    between = datetime.fromisoformat(begun[1]["at"]) - datetime.fromisoformat(waited["at"])
    assert waited["delay_seconds"] - 0.1 <= between.total_seconds() <= 60
    failed = next(event for event in history if event["type"] == "resource_failed")
    assert 0 <= failed["seconds"] <= 60


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05, 0.3])
async def test_a_service_that_is_asked_to_end_twice(world: World, pause_seconds: float) -> None:
    card = world.card("other/held.md", 'echo begun\nwhile [ ! -e "$HOME/go" ]; do sleep 0.1; done\necho done')
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: any(event.get("line") == "begun" for event in watcher.events))
    os.kill(world.service.pid, signal.SIGTERM)
    await asyncio.sleep(pause_seconds)
    # By the second one it ends in order, or it has just ended, and is then cut short.
    status = await world.service.terminate()
    assert status in (0, -signal.SIGTERM)
    assert "Traceback" not in world.service.log
    check_database(world.folder / "installer.sqlite3")
    await world.service.start()
    (world.instance.home / "go").touch()
    assert (await world.service.ended(job_id))["state"] == "completed"
    history = await world.service.history(job_id)
    check_stream(history)
    assert [event["line"] for event in history if event["type"] == "output"][:2] == ["begun", "done"]
    await watcher.leave()
