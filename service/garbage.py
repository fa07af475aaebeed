"""The collector of circular garbage, so tamed that no full collection holds up the event loop.

A full collection looks at every object that lives: with ten thousand clients at two million, for most of a second. But
what has survived a long one is likely to live long, so the next ones leave it out, and each looks at what came since.
An object that is left out is still freed when nothing refers to it; only a circle of such objects would stay. So what
comes in thousands, the clients, must leave no circles when it goes: see ``web/engine/websocket.py``.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG_SECONDS = 0.02
# Python's own are 700, 10 and 10. A full collection may then meet 70,000 objects that are new, and take 100 ms: here
# 20,000. And an append makes many small objects that are freed without the collector: at 700 of them it would take a
# fifteenth of the loop's time.
THRESHOLDS = (2_000, 2, 2)
_OLDEST = 2


@contextmanager
def all_of_it_stays() -> Iterator[None]:
    """No collection while the service is imported, and none afterwards looks at what that made: an eighth of the time
    that an import takes would go into looking at things that stay as long as the process."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def keep_collections_short() -> None:
    """From now on; call it when all is imported and built, none of which is ever freed."""
    gc.collect()
    gc.freeze()
    # Python waits until there is a quarter more than after the last full collection: there is nothing now.
    gc.collect()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(_Watch())


class _Watch:
    """What the collector calls before and after each collection; other threads cannot come in between."""

    def __init__(self) -> None:
        self._begun = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] != _OLDEST:
            return
        if phase == "start":
            self._begun = time.thread_time()
        elif time.thread_time() - self._begun > LONG_SECONDS:
            gc.freeze()
