"""What the handlers work with: the composition root builds it once and the router passes it to each handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.library import CardEditor, Library
from service.links import LinkReader
from service.notify.notifications import Notifications
from service.outbound import Outbound
from service.runner.controls import Controls
from service.store.database import Database
from service.store.event_store import EventStore
from service.store.jobs import Jobs
from service.store.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """``check_host`` raises TargetRefused. ``ssh_user`` and ``max_attempts``: of a request that does not name them.
    ``metrics``: the figures as Prometheus reads them."""

    journal: Journal
    event_store: EventStore
    jobs: Jobs
    library: Library
    editor: CardEditor
    links: LinkReader
    outbound: Outbound
    notifications: Notifications
    database: Database
    controls: Controls
    check_host: Callable[[str, int], None]
    ssh_user: str
    max_attempts: int
    version: str
    metrics: Callable[[], Awaitable[bytes]]
