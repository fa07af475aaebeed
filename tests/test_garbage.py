"""What the service does with Python's collector of garbage. Each case is a process of its own: the collector is one."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, gc
from service.garbage import all_of_it_stays

collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
with contextlib.suppress(ValueError), all_of_it_stays():
    kept = [[number] for number in range(100_000)]
    assert collections == []
    {end}
assert gc.isenabled()
assert gc.get_freeze_count() > len(kept)
later = [[number] for number in range(100_000)]
assert collections
"""


@pytest.mark.parametrize("end", ["pass", "raise ValueError"])
def test_nothing_is_collected_while_the_service_is_imported(end: str) -> None:
    subprocess.run([sys.executable, "-c", SCRIPT.format(end=end)], check=True, timeout=60)
