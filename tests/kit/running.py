"""The service inside the test's own process, on a real file and a free port: for tests that never kill it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from service.app import Service
from service.config import load_settings

NOTHING = "installs: nothing\n"


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Service]:
    given = {
        "port": 0,
        "database_url": f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}",
        "resources_dir": folder / "resources",
        "known_hosts": folder / "known_hosts",
        "key_file": folder / "key_file",
        "connect_timeout": 600,
    }
    (folder / "resources").mkdir(exist_ok=True)
    service = Service(load_settings(**(given | settings)))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def card_text(path: str, script: str, front: str = "") -> str:
    """A card with this script. One that calls no tool leaves no file, and says so."""
    installs = "" if any(tool in script for tool in ("civitdl", "wget", "curl", "aria2c", "hf")) else NOTHING
    return f"---\ntitle: Card {path}\n{front}{installs}---\n# Download\n```bash\n{script}\n```\n"


def write_card(folder: Path, path: str, script: str = "true", front: str = "") -> str:
    file = folder / "resources" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(card_text(path, script, front), encoding="utf-8")
    return path
