"""The parts that are made of the settings and little else, for the composition root."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from pydantic import SecretStr

from service.clock import SteadyClock
from service.config import LOCAL_RESOURCES, Settings, resources_in_data_path
from service.errors import ConfigError, StoreUnavailable
from service.keys import SSH, Keys
from service.library import copy_samples
from service.links.civitai import CIVITAI_ORIGINS
from service.notify.notifications import Notifications
from service.notify.prices import ByAddress
from service.outbound import Outbound
from service.runner.instance.connector import LOGIN_SECONDS_MAX, Connector
from service.runner.retry import RetryRules
from service.runner.rules import InstallRules, ToolKeys
from service.store.cluster import Cluster
from service.store.database import Database, database_of
from service.store.host_keys import StoredHostKeys
from service.web.bounds import connections_max
from service.web.connections import Connections
from service.web.endpoints import OPEN_PATHS
from service.web.guard import Guard
from service.web.pages import is_page
from service.web.peers import Peers

logger = logging.getLogger(__name__)


def prepare_cards(settings: Settings) -> None:
    """The default folder is made at the first start, with the sample cards in it. Raises ConfigError."""
    folder = settings.resources_dir
    if folder.is_dir():
        if not settings.resources_dir_is_given and folder == LOCAL_RESOURCES:
            logger.warning(
                "the cards are those of %s, because the service was started beside it: set "
                "INSTALLER_RESOURCES_DIR to keep them wherever it starts; without it they lie in %s",
                folder.absolute(),
                resources_in_data_path(),
            )
    elif settings.resources_dir_is_given:
        logger.warning("INSTALLER_RESOURCES_DIR: there is no folder %s, so there are no cards", folder)
    else:
        try:
            count = copy_samples(folder)
        except OSError as error:
            raise ConfigError(
                f"cannot make the folder of the cards, {folder}: {error.strerror or error}; "
                "name another in INSTALLER_RESOURCES_DIR"
            ) from error
        logger.info("folder of cards made", extra={"folder": str(folder), "sample_cards": count})


def database_from(settings: Settings) -> Database:
    """Not opened yet. Raises ConfigError."""
    return database_of(settings.database_url, lease_seconds=settings.lease, readers_url=settings.readers_url)


def guard_of(settings: Settings) -> Guard:
    return Guard(
        bound_host=settings.host,
        hosts=settings.allowed_hosts,
        origins=settings.cors_origins,
        api_token=_revealed(settings.api_token),
        is_open=lambda path: path in OPEN_PATHS or is_page(path),
    )


def connections_of(settings: Settings) -> Connections:
    return Connections(
        connections_max=connections_max(settings.max_concurrent_jobs),
        peer_max=settings.peer_connections,
        peers=Peers(settings.trusted_networks),
    )


def sites_of(settings: Settings) -> dict[str, str]:
    """Where the API of each key's site is."""
    return {
        "civitai": settings.civitai_url or CIVITAI_ORIGINS[0],
        "huggingface": settings.hf_url,
        "vast": settings.vast_url,
    }


def outbound_of(settings: Settings, keys: Keys) -> Outbound:
    origins: dict[str, tuple[str, ...]] = {name: (site,) for name, site in sites_of(settings).items()}
    if settings.civitai_url is None:
        origins["civitai"] = CIVITAI_ORIGINS

    def tokens() -> dict[str, str]:
        values = ((keys.value(name), sites) for name, sites in origins.items())
        return {site: value for value, sites in values if value is not None for site in sites}

    return Outbound(allowed=settings.outbound_targets, tokens=tokens)


def notifications_of(
    settings: Settings,
    database: Database,
    cluster: Cluster,
    clock_ms: SteadyClock,
    ask_prices: Callable[[], Awaitable[ByAddress]],
) -> Notifications:
    return Notifications(
        database,
        key_file=settings.key_file,
        given=settings.receivers(),
        given_kinds=settings.notify_events,
        allowed=settings.outbound_targets,
        is_alone=not cluster.is_shared,
        clock_ms=clock_ms,
        ask_prices=ask_prices,
    )


def connector_of(settings: Settings, keys: Keys, shared_keys: StoredHostKeys | None) -> Connector:
    return Connector(
        key_path=settings.ssh_key,
        own_key=lambda: keys.value(SSH),
        known_hosts_path=settings.known_hosts,
        host_key_policy=settings.host_key_policy,
        private_targets=settings.lets_private_targets,
        ssh_targets=settings.ssh_targets,
        # asyncssh gives up at the tick after the last unanswered one: at 1.5 times the setting in all.
        keepalive_seconds=settings.keepalive / 2,
        keepalive_count_max=2,
        login_timeout_seconds=min(LOGIN_SECONDS_MAX, settings.connect_timeout),
        kept_seconds=settings.keep_connections,
        shared_keys=shared_keys,
    )


def rules_of(settings: Settings, keys: Keys) -> InstallRules:
    async def tool_keys() -> ToolKeys:
        try:
            await keys.renew()
        except StoreUnavailable as error:
            logger.info("the keys stay as they were: %s", error)
        return ToolKeys(civitai_api_key=keys.value("civitai"), hf_token=keys.value("huggingface"))

    return InstallRules(
        resource_timeout_seconds=settings.resource_timeout,
        link_timeout_seconds=settings.link_timeout,
        connect_timeout_seconds=settings.connect_timeout,
        stall_seconds=settings.stall_timeout,
        retry=RetryRules(first_seconds=settings.retry_delay),
        provision_tools=settings.provision_tools,
        remote_path=settings.remote_path,
        keep_remote_logs=settings.keep_remote_logs,
        keys=tool_keys,
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
