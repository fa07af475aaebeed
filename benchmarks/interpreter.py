"""The interpreter as the service sets it: how often threads switch, and when the collector looks for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.__main__ import SWITCH_SECONDS
from service.garbage import THRESHOLDS


@contextmanager
def as_served() -> Iterator[None]:
    usual, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
        sys.setswitchinterval(usual)
