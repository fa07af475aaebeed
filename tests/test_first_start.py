"""The first start on a machine: the folder of the cards, the SSH key, and the wheel in an empty environment."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.config import load_settings
from service.errors import ConfigError
from service.library import Library, Resource, copy_samples

ROOT = Path(__file__).parents[1]
SAMPLES = sorted(path.relative_to(ROOT / "resources").as_posix() for path in (ROOT / "resources").rglob("*.md"))
SERVE_SECONDS_MAX = 60


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home and a working folder that hold nothing."""
    for name in [name for name in os.environ if name.startswith("INSTALLER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def started_once(**settings: Any) -> None:
    service = Service(load_settings(port=0, **settings))
    await service.start()
    await service.stop()


async def test_the_first_start_makes_the_folder_with_the_samples(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = home / "data/resource-installer/resources"
    await started_once()
    assert [card.path for card in Library(folder).all() if isinstance(card, Resource)] == SAMPLES
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
    # A card that the user deletes does not come back.
    (folder / SAMPLES[0]).unlink()
    await started_once()
    assert [card.path for card in Library(folder).all()] == SAMPLES[1:]
    assert sum("folder of cards made" in message for message in caplog.messages) == 1
    assert not any("started beside it" in message for message in caplog.messages)


async def test_a_resources_folder_beside_the_service_is_used_with_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "resources").mkdir()
    await started_once()
    assert not (home / "data/resource-installer/resources").exists()
    (warning,) = (message for message in caplog.messages if "started beside it" in message)
    assert "INSTALLER_RESOURCES_DIR" in warning
    assert str(home / "data/resource-installer/resources") in warning
    caplog.clear()
    await started_once(resources_dir=Path("resources"))
    assert not any("started beside it" in message for message in caplog.messages)


async def test_a_named_folder_that_does_not_exist_is_not_made(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    await started_once(resources_dir=home / "mine")
    assert not (home / "mine").exists()
    assert any(message.startswith("INSTALLER_RESOURCES_DIR: there is no folder") for message in caplog.messages)


async def test_a_folder_that_cannot_be_made_is_named(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data/resource-installer").write_text("in the way", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot make the folder of the cards.*INSTALLER_RESOURCES_DIR"):
        await started_once(database_url=f"sqlite+aiosqlite:///{home}/x.sqlite3", known_hosts=home / "known_hosts")


def test_samples_that_cannot_be_copied_whole_leave_no_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", fails)
    with pytest.raises(OSError, match="No space left"):
        copy_samples(home / "cards")
    assert list(home.iterdir()) == []


async def test_a_service_without_a_key_says_so_and_how_to_get_one(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    await started_once()
    (warning,) = (message for message in caplog.messages if message.startswith("no SSH key"))
    for way_out in ("INSTALLER_SSH_KEY", "~/.ssh", "id_ed25519", "ssh-keygen -t ed25519", ".pub"):
        assert way_out in warning


@pytest.mark.parametrize("where", [".ssh/id_ed25519", "elsewhere/key"])
async def test_a_service_with_a_key_says_nothing_of_it(
    home: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    key = home / where
    key.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    await started_once(ssh_key=key if where.startswith("elsewhere") else None)
    assert not any("no SSH key" in message for message in caplog.messages)


async def test_a_key_that_a_passphrase_locks_does_not_count(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / ".ssh").mkdir()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", home / ".ssh/id_ed25519"], check=True
    )
    await started_once()
    assert any("no SSH key" in message for message in caplog.messages)


def test_the_demo_names_the_extra_that_it_lacks(tmp_path: Path) -> None:
    """In an environment that has every package except those of the extra."""
    program = (
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name in ('civitdl', 'trustme') else find(name, *rest); "
        "from service.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, "demo"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert (said.returncode, said.stdout) == (2, "")
    assert "resource-installer[demo]" in said.stderr
    assert "civitdl and trustme" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.long
async def test_the_wheel_serves_in_an_empty_environment(home: Path) -> None:
    """Build it, install it beside nothing else, start it: the pages, the migrations and the samples are in it."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(home / "dist"), str(ROOT)]
    subprocess.run(pip, check=True, timeout=600)
    (wheel,) = (home / "dist").glob("resource_installer-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        carried = {name.removeprefix("service/sample_cards/") for name in packed.namelist() if "sample_cards" in name}
    assert carried == set(SAMPLES)
    venv.create(home / "venv", with_pip=True)
    subprocess.run([home / "venv/bin/pip", "install", "--quiet", wheel], check=True, timeout=600)
    process = await asyncio.create_subprocess_exec(
        *(home / "venv/bin/resource-installer", "serve", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SERVE_SECONDS_MAX):
            url = (await process.stdout.readline()).decode().split()[-1]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/readyz") as response:
                assert response.status == 200
            async with http.get(f"{url}/resources") as response:
                found = await response.json()
            async with http.get(f"{url}/") as response:
                assert "<script" in await response.text()
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), SERVE_SECONDS_MAX)
    assert (sorted(card["path"] for card in found["resources"]), found["broken"]) == (SAMPLES, [])
    demo = subprocess.run([home / "venv/bin/resource-installer", "demo"], capture_output=True, text=True, check=False)
    assert demo.returncode == 2
    assert "resource-installer[demo]" in demo.stderr
