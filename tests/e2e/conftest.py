"""The world of an end-to-end test: a CivitAI, an instance with sshd, a library, and the service as a process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.demo.civitai import StandInCivitai, StandInModel
from service.runner.instance.attempt_program import civitdl_config
from tests.kit.browser import Browser, open_browser
from tests.kit.invariants import check_database, check_postgres
from tests.kit.running import card_text
from tests.kit.service import ServiceProcess
from tests.kit.sshd import USER, Sshd


class World:
    """Everything real, on loopback, below one folder."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        self.folder = folder
        self.database_url = database_url or f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}"
        self.cards = folder / "resources"
        self.civitai = StandInCivitai(folder / "civitai")
        self.instance: Sshd
        self.instances: list[Sshd] = []
        self.service: ServiceProcess
        self.ui_home = folder / "ComfyUI"

    async def start(self, *, with_service: bool = True) -> None:
        self.cards.mkdir()
        self.ui_home.mkdir()
        await self.civitai.start()
        self.instance = await self.new_instance("instance")
        if with_service:
            self.service = ServiceProcess(self.folder, self.settings())
            await self.service.start()

    def settings(self) -> dict[str, str]:
        return {
            "INSTALLER_DATABASE_URL": self.database_url,
            "INSTALLER_RESOURCES_DIR": str(self.cards),
            "INSTALLER_SSH_USER": USER,
            "INSTALLER_SSH_KEY": str(self.instance.key_path),
            "INSTALLER_KNOWN_HOSTS": str(self.folder / "known_hosts"),
            "INSTALLER_KEY_FILE": str(self.folder / "key_file"),
            # Most tests look at one failure; the tests of retries raise this.
            "INSTALLER_MAX_ATTEMPTS": "1",
            "INSTALLER_RETRY_DELAY": "0.2",
        }

    async def new_instance(self, name: str, **env: str) -> Sshd:
        """Another instance that the same key opens. Its civitdl is set to short pauses and one retry."""
        folder = self.folder / name
        folder.mkdir()
        instance = Sshd(folder, env={**self.civitai.env, **env})
        if self.instances:
            (folder / "authorized_keys").write_bytes((self.instances[0].folder / "authorized_keys").read_bytes())
        self.instances.append(instance)
        config = instance.home / ".config/civitdl/config.json"
        config.parent.mkdir(parents=True)
        config.write_text(civitdl_config("", retry_count=1, pause_seconds=0.1), encoding="utf-8")
        return await instance.start()

    def model(self, model: StandInModel, folder: str = "loras") -> str:
        """Add a model and the card that installs it; returns the card's path."""
        self.civitai.add(model)
        url = f"https://civitai.com/models/{model.id}?modelVersionId={model.version_id}"
        return self.card(f"{folder}/model_{model.id}.md", f'civitdl "{url}" "$UI_HOME/models/{folder}"')

    def card(self, path: str, script: str, front: str = "") -> str:
        file = self.cards / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(card_text(path, script, front), encoding="utf-8")
        return path

    def check_database(self) -> None:
        """Every stream is whole, and every row the fold of its stream."""
        if self.database_url.startswith("postgresql"):
            check_postgres(self.database_url)
        else:
            check_database(self.folder / "installer.sqlite3")

    async def close(self) -> None:
        """Stop everything that was started, even if the start failed halfway."""
        if hasattr(self, "service") and self.service.has_started:
            await self.service.kill()
        await self.civitai.stop()
        for instance in self.instances:
            instance.thaw()
            await instance.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    built = World(tmp_path)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened
        opened.assert_clean()
