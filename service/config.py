"""The settings, read once from the environment and validated. Every message names the variable and the way out."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from os import getpid
from pathlib import Path
from platform import node
from typing import Annotated, Any, Literal, get_args
from urllib.parse import unquote, urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import ConfigError, InstallerError
from service.events.addresses import USER_PATTERN
from service.notify.address import APPRISE, KINDS, WEBHOOK, Address, Kind, check_secret

PREFIX = "INSTALLER_"
# Other parts read these: the fault injection of the tests, and the terminal client.
OTHER_VARIABLES = ("INSTALLER_CRASH_AT", "INSTALLER_URL", "INSTALLER_TOKEN")
CommaSeparated = Annotated[tuple[str, ...], NoDecode]


# Used when the variable is not set and the service starts beside such a folder, as version 0.1 did.
LOCAL_RESOURCES = Path("resources")


def _data_path() -> Path:
    return user_data_path("resource-installer")


def resources_in_data_path() -> Path:
    """Where the cards lie when nobody names a folder."""
    return _data_path() / "resources"


def _default_resources() -> Path:
    return LOCAL_RESOURCES if LOCAL_RESOURCES.is_dir() else resources_in_data_path()


class Settings(BaseSettings):
    """Every setting and its default. The environment variable is the name in capitals after ``INSTALLER_``. A setting
    that is a SecretStr is redacted wherever the service writes text, and no message shows it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    host: str = "127.0.0.1"
    port: int = Field(default=5000, ge=0, le=65535)
    database_url: str = Field(default_factory=lambda: f"sqlite+aiosqlite:///{_data_path() / 'installer.sqlite3'}")
    readers_url: str | None = None
    replica_name: str = Field(default="", max_length=100, pattern=r"^[A-Za-z0-9._:@-]*$")
    lease: float = Field(default=15.0, ge=1, le=300)
    resources_dir: Path = Field(default_factory=_default_resources)
    ssh_key: Path | None = None
    ssh_user: str = Field(default="root", pattern=USER_PATTERN)
    known_hosts: Path = Field(default_factory=lambda: _data_path() / "known_hosts")
    host_key_policy: Literal["strict", "accept-new", "off"] = "accept-new"
    ssh_targets: CommaSeparated = ()
    private_targets: bool | None = None
    max_concurrent_jobs: int = Field(default=20, ge=1, le=1000)
    resource_timeout: int = Field(default=3600, ge=1, le=30 * 86_400)
    stall_timeout: int = Field(default=120, ge=0, le=86_400)
    max_attempts: int = Field(default=3, ge=1, le=10)
    retry_delay: float = Field(default=5.0, gt=0, le=3600)
    provision_tools: bool = True
    keep_days: int = Field(default=0, ge=0, le=36_500)
    link_timeout: int = Field(default=3600, ge=1)
    connect_timeout: int = Field(default=120, ge=1)
    keepalive: float = Field(default=15.0, gt=0)
    keep_connections: int = Field(default=60, ge=0, le=3600)
    remote_path: str = ""
    keep_remote_logs: bool = False
    cors_origins: CommaSeparated = ()
    allowed_hosts: CommaSeparated = ()
    trusted_proxies: CommaSeparated = ()
    outbound_targets: CommaSeparated = ()
    civitai_url: str | None = None
    hf_url: str = "https://huggingface.co"
    cards_read_only: bool = False
    peer_connections: int = Field(default=200, ge=1, le=20_000)
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    api_token: SecretStr | None = None
    civitai_api_key: SecretStr | None = None
    hf_token: SecretStr | None = None
    vast_api_key: SecretStr | None = None
    vast_url: str = "https://console.vast.ai"
    vast_allow_stop: bool = False
    catalogue: str = "https://raw.githubusercontent.com/Comfy-Org/ComfyUI-Manager/main/model-list.json"
    key_file: Path = Field(default_factory=lambda: _data_path() / "key_file")
    webhook_urls: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    notify_urls: SecretStr | None = None
    notify_events: Annotated[tuple[Kind, ...], NoDecode] = KINDS

    @field_validator(
        "cors_origins",
        "allowed_hosts",
        "ssh_targets",
        "trusted_proxies",
        "outbound_targets",
        "notify_events",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _proxies_are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text[:80]!r} is no address: write 127.0.0.1 or 10.0.0.0/8") from None
        return value

    @field_validator("civitai_url", "hf_url", "vast_url", mode="after")
    @classmethod
    def _site_is_an_origin(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+/?", value):
            raise ValueError("must be the beginning of an address, like https://huggingface.co")
        return value.rstrip("/") if value is not None else None

    @field_validator("ssh_key", mode="after")
    @classmethod
    def _key_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no key file {value}")
        return value

    @field_validator("api_token", mode="after")
    @classmethod
    def _token_is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 8:
            raise ValueError("a token needs at least 8 characters")
        return value

    @field_validator("webhook_secret", mode="after")
    @classmethod
    def _secret_signs(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            return value if value is None else SecretStr(check_secret(value.get_secret_value()))
        except InstallerError as error:
            raise ValueError(str(error).removeprefix("secret: ").partition(";")[0]) from None

    @field_validator("webhook_urls", mode="after")
    @classmethod
    def _webhooks_are_addresses(cls, value: SecretStr | None) -> SecretStr | None:
        if any(Address(url=url).kind != WEBHOOK for url in _parts(value, r"[\s,]+")):
            raise ValueError("must be addresses that begin with https:// or http://, with commas between them")
        return value

    @field_validator("notify_urls", mode="after")
    @classmethod
    def _others_are_for_apprise(cls, value: SecretStr | None) -> SecretStr | None:
        if any("://" not in url or Address(url=url).kind != APPRISE for url in _parts(value, r"\s+")):
            raise ValueError("must be addresses as Apprise writes them, like ntfy://topic, with spaces between them")
        return value

    @property
    def bound_to_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def lets_private_targets(self) -> bool:
        """Whether any private address may be an instance. By default only where nobody but this machine's user asks:
        a token, a name that the service answers to, or an address beyond loopback means that others do, also through a
        proxy, and they must not reach this machine and its network."""
        if self.private_targets is not None:
            return self.private_targets
        return self.bound_to_loopback and self.api_token is None and not self.allowed_hosts

    @property
    def member_name(self) -> str:
        """The name of this replica. Nobody else on this machine listens on the same port, so that a service that starts
        again has its former name."""
        return self.replica_name or f"{node()}:{self.port or getpid()}"

    @property
    def resources_dir_is_given(self) -> bool:
        """Whether somebody named the folder of the cards; the service makes its own folder only when nobody did."""
        return "resources_dir" in self.model_fields_set

    @property
    def trusted_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(ipaddress.ip_network(text, strict=False) for text in self.trusted_proxies)

    def given_keys(self) -> dict[str, str]:
        """The keys of other sites that are set here."""
        given = {"civitai": self.civitai_api_key, "huggingface": self.hf_token, "vast": self.vast_api_key}
        return {name: key.get_secret_value() for name, key in given.items() if key is not None}

    def receivers(self) -> tuple[Address, ...]:
        """Who is told how jobs end, each once."""
        secret = self.webhook_secret.get_secret_value() if self.webhook_secret is not None else None
        webhooks = [Address(url=url, secret=secret) for url in _parts(self.webhook_urls, r"[\s,]+")]
        return tuple(dict.fromkeys([*webhooks, *(Address(url=url) for url in _parts(self.notify_urls, r"\s+"))]))

    def secrets(self) -> tuple[str, ...]:
        """The texts that must never leave the service: every setting that is a SecretStr, and the passwords of the
        database."""
        settings = (value.get_secret_value() for _, value in self if isinstance(value, SecretStr))
        passwords = (unquote(urlsplit(url).password or "") for url in (self.database_url, self.readers_url or ""))
        receivers = (receiver.url for receiver in self.receivers())
        return (*settings, *receivers, *dict.fromkeys(password for password in passwords if password))


def load_settings(**given: Any) -> Settings:
    """The settings; an argument that is not None overrides the environment. Raises ConfigError."""
    _refuse_unknown()
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("; ".join(_message(entry) for entry in error.errors())) from None
    if not settings.bound_to_loopback and settings.api_token is None:
        raise ConfigError(
            f"INSTALLER_API_TOKEN is not set, so anybody could use {settings.host}:{settings.port}: "
            "set a token, or bind to 127.0.0.1"
        )
    if settings.webhook_urls is not None and settings.webhook_secret is None:
        raise ConfigError(
            "INSTALLER_WEBHOOK_SECRET is not set, so no receiver could tell who sends it a webhook: set it to "
            "whsec_$(head -c 32 /dev/urandom | base64)"
        )
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service bound to this host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(value: SecretStr | None, between: str) -> list[str]:
    return [part for part in re.split(between, value.get_secret_value()) if part] if value is not None else []


def _refuse_unknown() -> None:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known and name not in OTHER_VARIABLES:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(f"{name} is not a setting" + (f": did you mean {near[0]}?" if near else ""))


def _message(entry: Any) -> str:
    field = "".join(str(part) for part in entry["loc"][:1])
    text = str(entry["msg"]).removeprefix("Value error, ")
    shown = "" if _is_secret(field) else f", got {str(entry['input'])[:80]!r}"
    return f"{PREFIX}{field.upper()}: {text}{shown}"


def _is_secret(field: str) -> bool:
    known = Settings.model_fields.get(field)
    return known is not None and SecretStr in (known.annotation, *get_args(known.annotation))
