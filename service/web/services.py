"""What the handlers work with: the composition root builds it once and the router passes it to each handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from service.keys import Keys
from service.library import CardEditor, Library
from service.links import LinkReader
from service.notify.notifications import Notifications
from service.outbound import Outbound
from service.runner.controls import Controls
from service.runner.instance.checkup import InstanceCheck
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from service.store.cluster import Cluster
from service.store.database import Database
from service.store.event_store import EventStore
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.ownership import Ownership
from service.vast import VastAccount
from service.workflows import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """``check_host`` raises TargetRefused. ``connect`` raises RemoteError.
    ``ssh_user`` and ``max_attempts``: of a request that does not name them.
    ``visits``: how many instances may be asked at once what lies on them.
    ``sites``: where the API of each key's site is.
    ``metrics``: the figures as Prometheus reads them."""

    journal: Journal
    event_store: EventStore
    jobs: Jobs
    library: Library
    editor: CardEditor
    links: LinkReader
    outbound: Outbound
    keys: Keys
    sites: Mapping[str, str]
    vast: VastAccount
    catalogue: Catalogue
    notifications: Notifications
    database: Database
    cluster: Cluster
    ownership: Ownership
    controls: Controls
    check_host: Callable[[str, int], None]
    check_instance: InstanceCheck
    connect: Callable[[Instance], Awaitable[Connection]]
    visits: asyncio.Semaphore
    ssh_user: str
    max_attempts: int
    version: str
    metrics: Callable[[], Awaitable[bytes]]
