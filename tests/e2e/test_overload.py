"""More bars than the service can keep up with: it leaves bars out, says how many, and is not late for ever."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.kit.service import Watcher, check_stream, until

# So many commits a second at most, whatever is in them.
SLOW_STORE_SECONDS = "0.4"
BARS = 12_000
# A burst of bars of which each is another one, a burst of lines, and bars at the pace of a usual tool.
CARD = f"""exec python3 -S -c '
import time
def bar(n):
    n, is_flushed = n % 100, n % 50 == 0
    print(f"\\rModel: {{n:3d}}%|####      | {{n}}.00M/100.00M [00:03<00:04, 60.9MiB/s]", end="", flush=is_flushed)
print("Now downloading \\"Burst\\"...")
for n in range({BARS}):
    bar(n)
    if n % 50 == 0:
        time.sleep(0.01)
print()
for n in range(300):
    print("line", n)
print("begun to be slow", flush=True)
for n in range(30):
    bar(n)
    time.sleep(0.02)
print("\\nDownload completed for \\"Burst\\"")
'"""


def bars(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in history if event["type"] == "progress" and event["stage"] == "model"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_killed", [False, True], ids=["to the end", "killed in the middle"])
async def test_bars_are_left_out_and_counted(world: World, *, is_killed: bool) -> None:
    await world.service.terminate()
    await world.service.start(SLOW_STORE_SECONDS=SLOW_STORE_SECONDS)
    card = world.card("other/burst.md", CARD, front="installs: nothing\n")
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    if is_killed:
        await until(lambda: any(event.get("left_out") for event in watcher.events))
        await world.service.kill()
        # It continues in the middle of the log, and as slow as before.
        await world.service.start(SLOW_STORE_SECONDS=SLOW_STORE_SECONDS)
    job = await world.service.ended(job_id, 200)
    history = await world.service.history(job_id)
    check_stream(history)
    shown = bars(history)
    assert sum(1 + bar["left_out"] for bar in shown) == BARS + 30
    assert any(bar["left_out"] for bar in shown)
    lines = [event["line"] for event in history if event["type"] == "output" and event["line"].startswith("line ")]
    assert lines == [f"line {n}" for n in range(300)]
    assert job["state"] == "completed", job["error"]
    if not is_killed:
        await watcher.end()
        assert watcher.events == history
    await watcher.leave()
