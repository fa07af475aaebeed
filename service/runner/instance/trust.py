"""Which host keys are known: those in the file, and where replicas share a database, those that any of them accepted.

A key that one replica accepted at first use is known to all, so that none is accepted a second time by another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.errors import LinkDown, StoreError
from service.runner.instance.host_keys import HostKey
from service.runner.instance.known_hosts import KnownHosts, KnownKey, SharedKeys


class Trust:
    """``shared`` None: the file alone."""

    def __init__(self, known_hosts: KnownHosts, shared: SharedKeys | None = None) -> None:
        self._file = known_hosts
        self._shared = shared

    async def keys(self, host: str, port: int) -> list[KnownKey]:
        """Raises LinkDown when they cannot be read now."""
        in_file = await asyncio.to_thread(self._file.keys, host, port)
        if self._shared is None:
            return in_file
        try:
            found = await self._shared.keys(host.lower(), port)
        except StoreError as error:
            raise LinkDown(f"the known host keys cannot be read now: {error}") from error
        return [*in_file, *(KnownKey(algorithm=algorithm, blob=blob) for algorithm, blob in found)]

    async def remember(self, host: str, port: int, key: HostKey, before: Sequence[KnownKey]) -> None:
        """Make this the host's only key, which was accepted when those were known. Raises LinkDown when it cannot be
        remembered now; then the key is to be judged again."""
        if self._shared is None:
            await asyncio.to_thread(self._file.remember, host, port, key.algorithm, key.blob)
            return
        replaced = [known.blob for known in before]
        try:
            is_kept = await self._shared.remember(host.lower(), port, key.algorithm, key.blob, instead_of=replaced)
        except StoreError as error:
            raise LinkDown(f"the host key cannot be kept yet: {error}") from error
        if not is_kept:
            raise LinkDown("another replica has just accepted a key of this instance")
