"""Optional packages that are kept out of the memory of a service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """What is imported within finds none of these packages, as if they were not installed: it wants them only for what
    a service never does. One that is loaded already stays as it is."""
    missing = [package for package in packages if package not in sys.modules]
    for package in missing:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for package in missing:
            del sys.modules[package]
