"""The composition root: builds everything once, connects it, and starts and stops it in order."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from importlib.metadata import version

from aiohttp import web

from service.clock import SteadyClock
from service.config import Settings
from service.errors import ConfigError, StoreError
from service.events.job import Job
from service.events.redaction import Redactor, Secrets
from service.keys import Keys
from service.library import CardEditor, Library
from service.links import LinkReader
from service.logs import concerns_job, log_changes
from service.metrics import Metrics
from service.parts import (
    connections_of,
    connector_of,
    database_from,
    guard_of,
    notifications_of,
    outbound_of,
    prepare_cards,
    rules_of,
    sites_of,
)
from service.runner.controls import Controls
from service.runner.installer import ResourceInstaller
from service.runner.instance.checkup import InstanceCheck
from service.runner.instance.targets import check_host
from service.runner.queue_positions import QueuePositions
from service.runner.sharing import Sharing
from service.runner.worker import Worker
from service.store.append import Append
from service.store.cluster import Cluster
from service.store.event_store import EventStore
from service.store.host_keys import StoredHostKeys
from service.store.housekeeping import Housekeeping
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.membership import Member
from service.store.ownership import Ownership
from service.store.queue_keys import renew_queue_keys
from service.store.stored_keys import StoredKeys
from service.vast import VastAccount
from service.web.bounds import HTTP_BOUNDS
from service.web.engine.server import SocketServer
from service.web.guard import BODY_BYTES_MAX, set_safe_headers
from service.web.listener import Listener
from service.web.pages import Pages
from service.web.rooms import Rooms
from service.web.router import add_routes
from service.web.services import Services
from service.web.sockets import Sockets
from service.workflows import Catalogue

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 1.0
# Each may answer with megabytes.
VISITS_MAX = 8
VERSION = version("resource-installer")
NO_KEY = (
    "no SSH key, so no instance lets this service in: INSTALLER_SSH_KEY is not set, and ~/.ssh has no id_ed25519, "
    "id_ecdsa or id_rsa without a passphrase. Let the service make one (page Keys, or `resource-installer keys ssh`), "
    "or make one with `ssh-keygen -t ed25519`, give its .pub half to the instances, and name the other half in "
    "INSTALLER_SSH_KEY or leave it in ~/.ssh"
)


class Service:
    """``start``, then ``url`` is where it listens, then ``stop``. ``secrets``: what all parts redact; the service's own
    keys are added to it."""

    def __init__(self, settings: Settings, secrets: Secrets | None = None) -> None:
        self._settings = settings
        self._secrets = secrets if secrets is not None else Secrets(settings.secrets())
        self._clock_ms = SteadyClock()
        self.url = ""
        # Each step needs only what stands above it. Data goes up through `publish` alone.
        guard = guard_of(settings)
        self._connections = connections_of(settings)
        self._listener = Listener(self._connections, host=settings.host, port=settings.port)
        transport = SocketServer(origin_allowed=guard.allows_socket_origin, connections=self._connections)
        self._rooms = Rooms(transport)
        self._library = Library(settings.resources_dir)
        self._database = database_from(settings)
        self._cluster = Cluster(
            self._database,
            Member(name=settings.member_name, version=VERSION),
            clock_ms=self._clock_ms,
            lease_seconds=settings.lease,
            library_digest=self._library.digest,
        )
        self._metrics = metrics = Metrics(
            self._database,
            version=VERSION,
            clients=lambda: self._rooms.client_count,
            replaying=self._rooms.replaying,
            cluster=self._cluster.figures,
        )
        self._jobs = Jobs(self._database)
        self._notifications = notifications_of(
            settings, self._database, self._cluster, self._clock_ms, lambda: self._vast.prices()
        )
        self._event_store = EventStore(
            self._database,
            clock=time.perf_counter,
            observe=self._observe,
            fence=self._cluster.membership.fence,
            outbox=self._notifications.outbox,
        )
        self._journal = Journal(
            self._event_store,
            self._jobs,
            clock_ms=self._clock_ms,
            publish=self._rooms.publish,
            secrets=self._secrets,
            is_shared=self._cluster.is_shared,
            replica_id=lambda: self._cluster.membership.replica_id,
            events_format=lambda: self._cluster.membership.events_format,
            on_foreign=lambda job_id: self._worker.advanced(job_id),
        )
        self._keys = Keys(
            StoredKeys(self._database, may_change_elsewhere=self._cluster.is_shared),
            key_file=settings.key_file,
            given=settings.given_keys(),
            secrets=self._secrets,
            clock_ms=self._clock_ms,
        )
        self._housekeeping = Housekeeping(
            database=self._database, keep_days=settings.keep_days, clock_ms=self._clock_ms
        )
        self._outbound = outbound_of(settings, self._keys)
        self._vast = VastAccount(self._outbound, settings.vast_url, may_stop=settings.vast_allow_stop)
        self._connector = connector_of(
            settings, self._keys, StoredHostKeys(self._database) if self._cluster.is_shared else None
        )
        self._ownership = Ownership(self._database, self._cluster.membership)
        self._worker = self._new_worker()
        self._cluster.connect(
            journal=self._journal,
            event_store=self._event_store,
            joined=self._rooms.jobs,
            owner=self._worker,
        )
        self._sockets = Sockets(transport, self._rooms, self._journal, api_token=guard.api_token, brake=guard.brake)
        middlewares = [self._connections.serve, *guard.middlewares(), log_changes]
        app = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES_MAX)
        add_routes(app, self._services(metrics))
        Pages().add_to(app)
        app.on_response_prepare.append(set_safe_headers)
        self._sockets.attach(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, **HTTP_BOUNDS)

    def _new_worker(self) -> Worker:
        installer = ResourceInstaller(
            journal=self._journal,
            jobs=self._jobs,
            library=self._library,
            connector=self._connector,
            rules=rules_of(self._settings, self._keys),
            redact=Redactor(self._secrets),
            clock_ms=self._clock_ms,
            clock=time.monotonic,
        )
        return Worker(
            journal=self._journal,
            jobs=self._jobs,
            ownership=self._ownership,
            installer=installer,
            positions=QueuePositions(journal=self._journal, jobs=self._jobs),
            max_concurrent_jobs=self._settings.max_concurrent_jobs,
            on_taken_up=_job_taken_up,
            membership=self._cluster.membership,
            sharing=self._sharing(),
        )

    def _sharing(self) -> Sharing | None:
        if not self._cluster.is_shared:
            return None
        return Sharing(
            name=self._cluster.name,
            membership=self._cluster.membership,
            library=self._library,
            tell=self._cluster.tell,
            clock=time.monotonic,
        )

    def _observe(self, appends: Sequence[Append], commit_seconds: float, publish_seconds: float) -> None:
        self._cluster.committed(appends)
        self._metrics.committed(appends, commit_seconds, publish_seconds)
        self._notifications.committed(appends)

    def _services(self, metrics: Metrics) -> Services:
        settings = self._settings
        return Services(
            journal=self._journal,
            event_store=self._event_store,
            jobs=self._jobs,
            library=self._library,
            editor=CardEditor(self._library, read_only=settings.cards_read_only),
            links=LinkReader(self._outbound, civitai_url=settings.civitai_url, huggingface_url=settings.hf_url),
            outbound=self._outbound,
            keys=self._keys,
            sites=sites_of(settings),
            catalogue=Catalogue(self._outbound, settings.catalogue, clock_ms=self._clock_ms),
            vast=self._vast,
            notifications=self._notifications,
            database=self._database,
            cluster=self._cluster,
            ownership=self._ownership,
            controls=Controls(journal=self._journal, jobs=self._jobs, on_control=self._worker.job_changed),
            check_host=lambda host, port: check_host(
                host, port, private_targets=settings.lets_private_targets, allowed=settings.ssh_targets
            ),
            check_instance=InstanceCheck(
                self._connector,
                remote_path=settings.remote_path,
                provides=settings.provision_tools,
                redact=Redactor(self._secrets),
            ),
            connect=self._connector.connect,
            visits=asyncio.Semaphore(VISITS_MAX),
            ssh_user=settings.ssh_user,
            max_attempts=settings.max_attempts,
            version=VERSION,
            metrics=metrics.render,
        )

    async def start(self) -> None:
        """Raises ConfigError, DatabaseHeld, DatabaseNewer."""
        prepare_cards(self._settings)
        await self._database.open()
        await renew_queue_keys(self._database)
        await self._keys.load()
        self._clock_ms.continue_from(await self._event_store.last_at_ms())
        self._event_store.start()
        await self._notifications.start()
        self._housekeeping.start()
        self._connections.start()
        self._sockets.start()
        await self._runner.setup()
        assert self._runner.server is not None
        try:
            await self._listener.start(self._runner.server)
        except OSError as error:
            await self.stop()
            raise ConfigError(
                f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror}; "
                "choose another INSTALLER_PORT, or stop what listens there"
            ) from error
        # Whoever cannot listen must not take the lease of the one who does, under the same name.
        try:
            await self._cluster.start()
        except StoreError:
            await self.stop()
            raise
        host, port = self._listener.address
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._worker.start()
        started = {"url": self.url, "version": VERSION, "pid": os.getpid()}
        logger.info("service started", extra=started | {"connections_max": self._connections.connections_max})
        if not self._connector.has_key():
            logger.warning(NO_KEY)

    async def stop(self) -> None:
        """Cut the links, close the clients, finish what is being written. The installs continue on their instances, and
        other replicas follow them at once."""
        self._journal.end_followers()
        logger.info("service stops: installs continue on their instances")
        self._listener.stop()
        await self._worker.stop()
        await self._journal.drain()
        await self._cluster.leave()
        self._connector.close()
        await self._sockets.close()
        await self._runner.cleanup()
        await self._connections.stop()
        await self._housekeeping.stop()
        await self._journal.drain()
        await self._event_store.stop()
        await self._notifications.stop()
        await self._cluster.stop()
        await self._database.close()
        logger.info("service stopped")


def _job_taken_up(job: Job) -> None:
    """Each job runs in a task of its own: from here on, everything logged there has the job's id."""
    concerns_job(job.job_id)
    logger.info("job taken up", extra={"instance": job.instance, "resources": job.total, "state": job.state.value})
