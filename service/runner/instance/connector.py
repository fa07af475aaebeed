"""Makes connections to instances by the rules of this service: which addresses, which host keys, which key of ours.

One handshake at a time per host and port; a name is resolved once, and the address that was checked is the address that
is connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from service.errors import HostKeyChanged, LinkDown, RemoteError
from service.events.addresses import instance_key
from service.runner.instance import ssh
from service.runner.instance.host_keys import HostKey, HostKeyCheck, HostKeyPolicy, HostKeyRule
from service.runner.instance.kept_connections import KeptConnections
from service.runner.instance.key_files import LoginKeys, no_key
from service.runner.instance.known_hosts import KnownHosts, KnownKey, SharedKeys
from service.runner.instance.lookups import Lookups
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance, check_target
from service.runner.instance.trust import Trust
from service.runner.instance.wake_ups import WakeUps

ADDRESSES_MAX = 3
LOGIN_SECONDS_MAX = 30.0


@dataclass(slots=True, kw_only=True)
class Contact:
    """How far a connection came. ``host_key``: the one that was accepted. ``error``: why there is no connection."""

    addresses: list[str] = field(default_factory=list)
    host_key: HostKey | None = None
    connection: Connection | None = None
    error: RemoteError | None = None


class Connector:
    """Built once, from the settings. ``key_path`` None: the usual keys in ``~/.ssh``. ``own_key``: the one that the
    service made itself. ``login_timeout_seconds``: how long a login may take until it runs the command that it was
    given. ``kept_seconds``: how long a connection waits for the next job of its instance; 0: not at all.
    ``shared_keys``: the host keys that other replicas accepted."""

    def __init__(
        self,
        *,
        key_path: Path | None,
        own_key: Callable[[], str | None] = no_key,
        known_hosts_path: Path,
        host_key_policy: HostKeyPolicy,
        private_targets: bool,
        ssh_targets: Sequence[str],
        keepalive_seconds: float = 15.0,
        keepalive_count_max: int = 3,
        connect_timeout_seconds: float = 20.0,
        login_timeout_seconds: float = LOGIN_SECONDS_MAX,
        kept_seconds: float = 0.0,
        shared_keys: SharedKeys | None = None,
    ) -> None:
        self._login_keys = LoginKeys(path=key_path, own=own_key)
        self._trust = Trust(KnownHosts(known_hosts_path), shared_keys)
        self._lookups = Lookups()
        self._wake_ups = WakeUps()
        self._policy = host_key_policy
        self._private_targets = private_targets
        self._targets = tuple(ssh_targets)
        self._keepalive_seconds = keepalive_seconds
        self._keepalive_count_max = keepalive_count_max
        self._connect_timeout_seconds = connect_timeout_seconds
        self._login_timeout_seconds = login_timeout_seconds
        self._kept = KeptConnections(kept_seconds)
        self._handshakes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def connect(self, instance: Instance) -> Connection:
        """A connection whose host key and user are accepted.

        Raises LinkDown (try again later), AuthenticationFailed, HostKeyChanged, TargetRefused.
        """
        lock = self._handshakes.setdefault(instance_key(instance.host, instance.port), asyncio.Lock())
        async with lock:
            addresses = await self._resolve(instance)
            for address in addresses[:-1]:
                # A name with several addresses is up when one of them is.
                with contextlib.suppress(LinkDown):
                    return await self._accept(instance, address)
            return await self._accept(instance, addresses[-1])

    async def reach(self, instance: Instance, contact: Contact) -> None:
        """See how far a connection comes, in one try at each address; the contact is told as it goes. Nothing is
        remembered of a host key. Never raises RemoteError."""
        try:
            contact.addresses = await self._resolve(instance)
            for address in contact.addresses:
                contact.connection, contact.error = None, None
                try:
                    contact.connection = await self._accept(instance, address, contact)
                    break
                except LinkDown as error:
                    contact.error = error
        except RemoteError as error:
            contact.error = error

    async def kept(self, instance: Instance) -> Connection | None:
        """A connection that an earlier job left, made with what a new one would be made with, to a host whose key is
        accepted now. It has yet to prove that it is alive. Raises LinkDown."""
        stamp = await asyncio.to_thread(self._login_keys.stamp)
        known = await self._trust.keys(instance.host, instance.port)
        connection = self._kept.take(instance, stamp)
        if connection is None:
            return None
        rule = HostKeyRule(str(instance), self._policy, instance.host_key_sha256, known)
        key = connection.host_key
        try:
            connection.renew(key and rule.check(key.algorithm, key.blob))
        except HostKeyChanged:
            # The job wants another key, or a person has changed the file of known hosts: a handshake says more.
            connection.abort()
            return None
        return connection

    def keep(self, connection: Connection) -> bool:
        """Whether the connection waits for the next job of its instance. If not, it is the caller's to close."""
        return self._kept.keep(connection)

    def close(self) -> None:
        """Close the connections that wait, and keep none from now on."""
        self._kept.close()

    def has_key(self) -> bool:
        """Whether there is a private key to offer to an instance. A key in the setting counts, usable or not: a
        connection reports what is wrong with it."""
        return self._login_keys.path is not None or bool(ssh.client_keys(self._login_keys))

    async def _resolve(self, instance: Instance) -> list[str]:
        """The addresses to connect to. They are checked here, and no other look-up follows."""
        with ssh.mapped(instance):
            async with asyncio.timeout(self._connect_timeout_seconds):
                found = await self._lookups.addresses(instance.host, instance.port)
        addresses = list(dict.fromkeys(found))[:ADDRESSES_MAX]
        for address in addresses:
            check_target(
                instance.host,
                instance.port,
                address,
                private_targets=self._private_targets,
                allowed=self._targets,
            )
        return addresses

    async def _accept(self, instance: Instance, address: str, contact: Contact | None = None) -> Connection:
        """A handshake, and where one certain key is wanted and the instance shows another kind, the next: it may have
        the wanted key as well. A ``contact`` is told of the host key, and then nothing is remembered of it."""
        known = await self._trust.keys(instance.host, instance.port)
        rule = HostKeyRule(str(instance), self._policy, instance.host_key_sha256, known)
        refused_kinds: list[str] = []
        refusal: HostKeyChanged | None = None
        while algorithms := rule.algorithms(without=refused_kinds):
            check = HostKeyCheck(rule)
            try:
                connection = await self._handshake(instance, address, algorithms, check)
                return connection if contact is not None else await self._remembered(connection, known)
            except HostKeyChanged as error:
                if rule.wanted is None or not check.shown_algorithm:
                    raise
                refused_kinds.append(check.shown_algorithm)
                refusal = refusal or error
            except LinkDown:
                if refusal is None:
                    raise
                break
            finally:
                if contact is not None:
                    contact.host_key = check.host_key
        raise refusal or HostKeyChanged(f"{instance} has no host key of a kind that this service knows")

    async def _handshake(
        self, instance: Instance, address: str, algorithms: Sequence[str], check: HostKeyCheck
    ) -> Connection:
        return await ssh.handshake(
            instance,
            address,
            algorithms=algorithms,
            check=check,
            login_keys=self._login_keys,
            keepalive_seconds=self._keepalive_seconds,
            keepalive_count_max=self._keepalive_count_max,
            timeout_seconds=self._connect_timeout_seconds,
            login_seconds=self._login_timeout_seconds,
            wake_ups=self._wake_ups,
        )

    async def _remembered(self, connection: Connection, known: Sequence[KnownKey]) -> Connection:
        key, instance = connection.host_key, connection.instance
        if key is not None and key.is_new:
            try:
                await self._trust.remember(instance.host, instance.port, key, known)
            except BaseException:
                connection.abort()
                raise
        return connection
