"""deploy/compose.yaml, checked by what can be run without Docker."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from sqlalchemy.engine import make_url

from service.config import load_settings
from service.store.database import database_of
from service.store.database_postgres import PostgresDatabase
from tests.test_deployment import NAME, NGINX, ROOT, TOKEN, instruction

COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
REPLICAS = {name: service for name, service in COMPOSE["services"].items() if name.startswith("replica")}
SITE = (ROOT / "deploy/nginx-cluster.conf").read_text(encoding="utf-8")
# What deploy/.env gives, by the head of the file.
GIVEN = {
    "POSTGRES_PASSWORD": "a-password",
    "INSTALLER_API_TOKEN": TOKEN,
    "INSTALLER_ALLOWED_HOSTS": NAME,
    "SSH_KEY": "/etc/resource-installer/id_ed25519",
    "CARDS": "/etc/resource-installer/resources",
}


def filled(value: str) -> str:
    """With the variables of deploy/.env, as Compose does it."""
    return re.sub(r"\$\{([A-Z_]+):\?[^}]*\}", lambda match: GIVEN[match[1]], value)


def image_environment() -> dict[str, str]:
    (environment,) = instruction("ENV")
    return dict(word.split("=", 1) for word in environment.split())


def test_compose_asks_for_what_its_head_names() -> None:
    text = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^#   ([A-Z_]+)=", text, re.MULTILINE) == list(GIVEN)
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == set(GIVEN)


@pytest.mark.parametrize("name", REPLICAS)
def test_the_settings_of_a_replica_in_compose(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together with those of the image they are settings with which it starts, and leads to the other services."""
    key = tmp_path / "id_ed25519"
    key.touch()
    for variable, value in {**image_environment(), **REPLICAS[name]["environment"]}.items():
        monkeypatch.setenv(variable, str(key) if variable == "INSTALLER_SSH_KEY" else filled(value))
    settings = load_settings()
    assert settings.replica_name == name
    database = database_of(settings.database_url, lease_seconds=settings.lease)
    assert isinstance(database, PostgresDatabase)
    assert database.name == "db:5432/installer"
    server = {key: filled(value) for key, value in COMPOSE["services"]["db"]["environment"].items()}
    url = make_url(settings.database_url)
    assert (url.username, url.password) == (server["POSTGRES_USER"], server["POSTGRES_PASSWORD"])
    assert url.database == server["POSTGRES_DB"]
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert settings.trusted_proxies == (network["subnet"],)


def test_the_replicas_in_compose_share_what_they_must() -> None:
    assert len(REPLICAS) == 3
    names = {service["environment"]["INSTALLER_REPLICA_NAME"] for service in REPLICAS.values()}
    assert names == set(REPLICAS)
    key_file = Path(image_environment()["INSTALLER_KEY_FILE"])
    for service in REPLICAS.values():
        mounts = dict(filled(mount).split(":")[:2][::-1] for mount in service["volumes"])
        assert mounts[str(key_file.parent)] in COMPOSE["volumes"]
        assert service["environment"]["INSTALLER_SSH_KEY"] in mounts
        assert service["environment"]["INSTALLER_RESOURCES_DIR"] in mounts
        assert service["depends_on"]["db"]["condition"] == "service_healthy"
    for service in COMPOSE["services"].values():
        sources = [str(mount).split(":")[0] for mount in service.get("volumes", ())]
        named = [source for source in sources if re.fullmatch(r"[a-z]+", source)]
        assert set(named) <= set(COMPOSE["volumes"])


def test_nginx_in_compose_has_all_replicas(tmp_path: Path) -> None:
    nginx = COMPOSE["services"]["nginx"]
    (mount,) = nginx["volumes"]
    assert mount.split(":")[0] == "./nginx-cluster.conf"
    assert set(nginx["depends_on"]) == set(REPLICAS)
    port = image_environment()["INSTALLER_PORT"]
    assert re.findall(r"^ *server (\S+?) .*;$", SITE, re.MULTILINE) == [f"{name}:{port}" for name in REPLICAS]
    if NGINX is None:
        pytest.skip("nginx is not installed")
    config = tmp_path / "nginx.conf"
    site = re.sub(r"replica\d:", "127.0.0.1:", SITE)
    head = f"pid {tmp_path}/pid; error_log {tmp_path}/log;\nevents {{}}\nhttp {{ access_log off;\n"
    config.write_text(f"{head}{site}}}\n", encoding="utf-8")
    said = subprocess.run(
        [NGINX, "-t", "-p", tmp_path, "-c", config, "-e", tmp_path / "log"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (said.returncode, "[warn]" in said.stderr) == (0, False), said.stderr
