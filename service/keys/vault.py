"""The keys that the service has: those of the environment go before those that a client has set.

A value leaves only towards its site, the instance and the login that need it. Nothing here returns one for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.errors import KeyExists, KeyFileUnusable, UnknownKey
from service.events.redaction import Secrets
from service.keys import ssh_key
from service.keys.names import KEYS, SSH
from service.sealing import Sealing
from service.store.stored_keys import StoredKey, StoredKeys

Source = Literal["environment", "stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What may be told of a key. ``source``: None where there is none. ``is_stored``: also if the environment goes
    before. ``problem``: why a stored key cannot be read. ``public``: of the SSH key, its public half."""

    source: Source | None = None
    is_stored: bool = False
    set_at_ms: int | None = None
    problem: str | None = None
    public: str | None = None


class Keys:
    """``given``: those of the environment, by name. ``secrets``: learns every value, before anything can use it.
    ``clock_ms``: milliseconds since the epoch."""

    def __init__(
        self,
        rows: StoredKeys,
        *,
        key_file: Path,
        given: Mapping[str, str],
        secrets: Secrets,
        clock_ms: Callable[[], int],
    ) -> None:
        self._rows = rows
        self._sealing = Sealing(key_file)
        self._given = dict(given)
        self._secrets = secrets
        self._clock_ms = clock_ms
        self._stored: dict[str, StoredKey] = {}
        self._values: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._public: str | None = None
        self._changing = asyncio.Lock()

    def value(self, name: str) -> str | None:
        """The key that counts now."""
        return self._given.get(name) or self._values.get(name)

    def state(self, name: str) -> KeyState:
        stored = self._stored.get(name)
        source: Source | None = "environment" if name in self._given else "stored" if stored is not None else None
        return KeyState(
            source=source,
            is_stored=stored is not None,
            set_at_ms=stored.set_at_ms if stored is not None else None,
            problem=self._problems.get(name),
            public=self._public if name == SSH else None,
        )

    async def load(self) -> None:
        """Read what is stored. A key that cannot be read has its ``problem``, and harms nothing else. Raises
        StoreUnavailable."""
        async with self._changing:
            await self._load()

    async def renew(self) -> None:
        """What another service has set or removed counts from now on, and so does a key file that was mended. Raises
        StoreUnavailable."""
        if self._rows.may_change_elsewhere or self._problems:
            await self.load()

    async def set(self, name: str, value: str) -> None:
        """Raises UnknownKey, KeyFileUnusable, StoreUnavailable."""
        if name not in KEYS:
            raise _unknown(name)
        async with self._changing:
            await self._put(name, value)

    async def make_ssh_key(self) -> None:
        """Raises KeyExists, KeyFileUnusable, StoreUnavailable."""
        async with self._changing:
            await self._load()
            if SSH in self._stored:
                raise KeyExists("the service has an SSH key of its own: remove it first, if you want another")
            await self._put(SSH, await asyncio.to_thread(ssh_key.new_private_key))

    async def remove(self, name: str) -> None:
        """Installs that run keep what they were given. Raises UnknownKey, StoreUnavailable."""
        if name not in KEYS and name != SSH:
            raise _unknown(name)
        async with self._changing:
            was_there = await self._rows.remove(name)
            await self._load()
        if not was_there:
            raise UnknownKey(f"no key {name} is stored here")

    async def _put(self, name: str, value: str) -> None:
        self._learn(value)
        sealed = await asyncio.to_thread(self._sealing.seal, name, value)
        await self._rows.put(StoredKey(name=name, sealed=sealed, set_at_ms=self._clock_ms()))
        await self._load()

    async def _load(self) -> None:
        stored = {row.name: row for row in await self._rows.all()}
        if stored != self._stored or self._problems:
            values, problems, public = await asyncio.to_thread(self._opened, stored)
            for value in values.values():
                self._learn(value)
            self._stored, self._values, self._problems, self._public = stored, values, problems, public

    def _opened(self, stored: Mapping[str, StoredKey]) -> tuple[dict[str, str], dict[str, str], str | None]:
        """The values, why others cannot be read, and the public half of the SSH key."""
        values: dict[str, str] = {}
        problems: dict[str, str] = {}
        for name, row in stored.items():
            try:
                values[name] = self._sealing.open(name, row.sealed)
            except KeyFileUnusable as error:
                problems[name] = str(error)
        return values, problems, ssh_key.public_line(values[SSH]) if SSH in values else None

    def _learn(self, value: str) -> None:
        """Each line of a long one is a secret of its own: that is how it would be printed."""
        lines = [line for line in value.splitlines() if line and not line.startswith("-----")]
        self._secrets.learn([value, *lines])


def _unknown(name: str) -> UnknownKey:
    return UnknownKey(f'there is no key "{name[:40]}": the keys are {", ".join([*KEYS, SSH])}')
