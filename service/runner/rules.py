"""The settings that the runner follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from service.runner.retry import RetryRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolKeys:
    """What the tools of a card are given. None where none is set."""

    civitai_api_key: str | None = None
    hf_token: str | None = None


async def _no_keys() -> ToolKeys:
    return ToolKeys()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRules:
    """How to install: limits, retries and keys.

    ``stall_seconds``: 0 for no watch. ``remote_path``: folders added to PATH on the instance, separated by colons.
    ``keys``: those for an attempt that begins now.
    """

    resource_timeout_seconds: int = 3600
    link_timeout_seconds: float = 3600.0
    connect_timeout_seconds: float = 120.0
    stall_seconds: int = 120
    retry: RetryRules = field(default_factory=RetryRules)
    remote_path: str = ""
    keep_remote_logs: bool = False
    provision_tools: bool = True
    keys: Callable[[], Awaitable[ToolKeys]] = _no_keys
