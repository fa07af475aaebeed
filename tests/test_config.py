"""The settings: each refusal names its variable and the way out, and no secret is ever shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.config import PREFIX, Settings, is_loopback, load_settings, resources_in_data_path
from service.errors import ConfigError
from service.store.database import database_of

SECRET = "geheim-7f3a9c"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def refused() -> str:
    with pytest.raises(ConfigError) as raised:
        load_settings()
    # Nothing that pydantic says of its input may come along with the error.
    assert raised.value.__cause__ is None
    return str(raised.value)


def test_without_any_variable_the_service_is_reached_from_this_machine_alone() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.bound_to_loopback) == ("127.0.0.1", 5000, True)
    assert (settings.host_key_policy, settings.ssh_user, settings.resource_timeout) == ("accept-new", "root", 3600)
    assert settings.database_url == f"sqlite+aiosqlite:///{settings.known_hosts.parent / 'installer.sqlite3'}"
    assert settings.secrets() == ()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "70000", "less than or equal to 65535"),
        ("PORT", "-1", "greater than or equal to 0"),
        ("PORT", "http", "valid integer"),
        ("SSH_USER", "-oProxyCommand=x", "pattern"),
        ("SSH_USER", "a b", "pattern"),
        ("SSH_KEY", "/nowhere/id_ed25519", "there is no key file /nowhere/id_ed25519"),
        ("HOST_KEY_POLICY", "lax", "'strict', 'accept-new' or 'off'"),
        ("MAX_CONCURRENT_JOBS", "0", "greater than or equal to 1"),
        ("RESOURCE_TIMEOUT", "0", "greater than or equal to 1"),
        ("LINK_TIMEOUT", "soon", "valid integer"),
        ("CONNECT_TIMEOUT", "0", "greater than or equal to 1"),
        ("KEEPALIVE", "0", "greater than 0"),
        ("KEEP_REMOTE_LOGS", "perhaps", "valid boolean"),
    ],
)
def test_a_refusal_names_the_variable_and_what_it_got(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    message = refused()
    assert message.startswith(f"{PREFIX}{name}: ")
    assert words in message
    assert message.endswith(f"got {value!r}")


def test_all_wrong_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_PORT", "x")
    monkeypatch.setenv("INSTALLER_HOST_KEY_POLICY", "x")
    message = refused()
    assert "INSTALLER_PORT: " in message
    assert "INSTALLER_HOST_KEY_POLICY: " in message


def test_a_long_value_is_shown_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_PORT", "9" * 3 + "x" * 10_000)
    assert len(refused()) < 300


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("INSTALLER_PROT", "INSTALLER_PORT"),
        ("INSTALLER_RESOURCE_DIR", "INSTALLER_RESOURCES_DIR"),
        ("INSTALLER_CORS_ORIGIN", "INSTALLER_CORS_ORIGINS"),
        ("INSTALLER_ZZZZZZZZZZZZZ", None),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str | None
) -> None:
    monkeypatch.setenv(name, SECRET)
    assert refused() == f"{name} is not a setting" + (f": did you mean {near}?" if near else "")


@pytest.mark.parametrize("name", ["INSTALLER_URL", "INSTALLER_TOKEN"])
def test_what_the_terminal_client_reads_is_let_pass(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    load_settings()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_TOKEN", "SSH_KEY", "PORT", "CORS_ORIGINS"):
        monkeypatch.setenv(PREFIX + name, "")
    settings = load_settings()
    assert (settings.api_token, settings.ssh_key, settings.port, settings.cors_origins) == (None, None, 5000, ())


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_CORS_ORIGINS", "https://a.example, http://b.example:8080 ,")
    monkeypatch.setenv("INSTALLER_ALLOWED_HOSTS", "installer.example")
    monkeypatch.setenv("INSTALLER_SSH_TARGETS", "10.0.0.0/8,[fd00::1]:22")
    settings = load_settings()
    assert settings.cors_origins == ("https://a.example", "http://b.example:8080")
    assert settings.allowed_hosts == ("installer.example",)
    assert settings.ssh_targets == ("10.0.0.0/8", "[fd00::1]:22")


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INSTALLER_PORT", "6000")
    monkeypatch.setenv("INSTALLER_RESOURCES_DIR", str(tmp_path))
    settings = load_settings(port=7000, resources_dir=None)
    assert (settings.port, settings.resources_dir) == (7000, tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "installer.example", "localhost.example"])
def test_beyond_loopback_only_with_a_token(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("INSTALLER_HOST", host)
    message = refused()
    assert message.startswith("INSTALLER_API_TOKEN is not set")
    assert "bind to 127.0.0.1" in message
    monkeypatch.setenv("INSTALLER_API_TOKEN", SECRET)
    assert load_settings().bound_to_loopback is False


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert load_settings(host=host).bound_to_loopback


def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_API_TOKEN", SECRET)
    monkeypatch.setenv("INSTALLER_CIVITAI_API_KEY", SECRET + "-key")
    settings = load_settings()
    assert settings.secrets() == (SECRET, SECRET + "-key")
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    monkeypatch.setenv("INSTALLER_PORT", "x")
    assert SECRET not in refused()


def test_a_token_that_is_too_short_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_API_TOKEN", "s3cr3t!")
    message = refused()
    assert message == "INSTALLER_API_TOKEN: a token needs at least 8 characters"


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    assert set(Settings.model_fields) >= {"database_url", "civitai_api_key", "remote_path", "keep_remote_logs"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite+aiosqlite://", "in-memory"),
        ("sqlite+aiosqlite:///:memory:", "in-memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in-memory"),
        ("postgresql+asyncpg://me:geheim-7f3a9c@host/db", "postgresql+asyncpg is not supported"),
        ("not a url", "sqlite+aiosqlite:///FILE"),
    ],
)
def test_a_database_that_cannot_be_served(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        database_of(url)
    assert str(raised.value).startswith("INSTALLER_DATABASE_URL: ")
    assert words in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "readers", "words"),
    [
        ("sqlite+aiosqlite:///x", "sqlite+aiosqlite:///x", "leave it out"),
        ("postgresql+psycopg://h/d", "sqlite+aiosqlite:///x", "the same PostgreSQL"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://me:geheim-7f3a9c@one:1,two:2/d", "host=ONE:PORT"),
    ],
)
def test_a_way_for_readers_that_cannot_be_taken(url: str, readers: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        database_of(url, readers_url=readers)
    assert str(raised.value).startswith("INSTALLER_READERS_URL: ")
    assert words in str(raised.value)
    assert SECRET not in str(raised.value)


def test_the_passwords_of_the_database_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_DATABASE_URL", "postgresql+psycopg://me:one%2Fsecret@/d?host=a:1&host=b:2")
    monkeypatch.setenv("INSTALLER_READERS_URL", "postgresql+psycopg://reader:another@pooler:6432/d")
    assert load_settings().secrets()[-2:] == ("one/secret", "another")


def test_without_a_named_folder_the_cards_lie_in_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.resources_dir == resources_in_data_path() == settings.known_hosts.parent / "resources"
    assert not settings.resources_dir_is_given
    (tmp_path / "resources").mkdir()
    assert load_settings().resources_dir == Path("resources")
    monkeypatch.setenv("INSTALLER_RESOURCES_DIR", str(tmp_path / "mine"))
    assert load_settings().resources_dir_is_given


WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_receivers_come_from_the_settings_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTALLER_WEBHOOK_URLS", "https://a.example/x, https://b.example/y,https://a.example/x")
    monkeypatch.setenv("INSTALLER_WEBHOOK_SECRET", WEBHOOK_SECRET)
    monkeypatch.setenv("INSTALLER_NOTIFY_URLS", "ntfy://topic  mailto://u:p@mail.example?to=a@b.c,d@e.f")
    monkeypatch.setenv("INSTALLER_NOTIFY_EVENTS", "failed,instance_lost")
    settings = load_settings()
    assert [(receiver.kind, receiver.shown, receiver.secret) for receiver in settings.receivers()] == [
        ("webhook", "https://a.example/…", WEBHOOK_SECRET),
        ("webhook", "https://b.example/…", WEBHOOK_SECRET),
        ("apprise", "ntfy://…", None),
        ("apprise", "mailto://…", None),
    ]
    assert settings.notify_events == ("failed", "instance_lost")
    assert {"https://a.example/x", "ntfy://topic", WEBHOOK_SECRET} <= set(settings.secrets())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WEBHOOK_URLS", "https://a.example/x", "WEBHOOK_SECRET is not set"),
        ("WEBHOOK_URLS", "ntfy://topic", "begin with https://"),
        ("WEBHOOK_SECRET", "whsec_c2hvcnQ=", "24 to 64 bytes"),
        ("NOTIFY_URLS", "https://a.example/x", "as Apprise writes them"),
        ("NOTIFY_EVENTS", "failed,started", "NOTIFY_EVENTS"),
    ],
)
def test_a_receiver_that_cannot_be_told_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"INSTALLER_{name}", value)
    with pytest.raises(ConfigError) as refused:
        load_settings()
    assert words in str(refused.value)
    assert "a.example" not in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)
