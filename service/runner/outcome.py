from __future__ import annotations
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended, as the instance says. ``exit_code`` None: unknown."""

    exit_code: int | None
    timed_out: bool = False
    killed: bool = False
    instance_lost: bool = False
    disk_full: bool = False
    tool_missing: str | None = None
