"""An install that an earlier version began: this version takes up its database and its directory on the instance."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import asyncssh
import pytest

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.service import check_stream, until
from tests.kit.sshd import USER

VERSIONS = sorted(path for path in (Path(__file__).parents[1] / "upgrade").iterdir() if path.is_dir())
JOB = "6f1f7a3c-4c1b-4e0b-9d53-0d3a5f6b7c21"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
async def test_an_install_that_an_earlier_version_launched(world: World, version: Path) -> None:
    await world.service.terminate()
    model = StandInModel(
        id=1001, name="Held", size_bytes=6_000_000, hold_after_bytes=3_000_000, bytes_per_second=20_000_000
    )
    path = world.model(model)
    card = (world.cards / path).read_text(encoding="utf-8")
    script = card.partition("```bash\n")[2].partition("\n```")[0]
    placeholders = {
        "@JOB@": JOB,
        "@UI_HOME@": str(world.ui_home),
        "@PORT@": str(world.instance.port),
        "@USER@": USER,
        "@CARD@": script,
        "@CARD_SHA256@": hashlib.sha256(card.encode()).hexdigest(),
    }
    database = world.folder / "installer.sqlite3"
    for file in world.folder.glob("installer.sqlite3*"):
        file.unlink()
    with sqlite3.connect(database) as connection:
        connection.executescript(_filled(version / "log.sql", placeholders))
    connection.close()
    before = [json.dumps(row) for row in _events(database)]

    # The earlier version launches its attempt and dies: its link is cut, the download goes on.
    async with asyncssh.connect(
        "127.0.0.1", world.instance.port, username=USER, client_keys=[world.instance.key_path], known_hosts=None
    ) as link:
        await link.create_process("exec sh", input=_filled(version / "launch.sh", placeholders))
        log = world.instance.home / ".local/state/resource-installer" / JOB / "1-1/log"
        await until(lambda: log.exists() and b"Model:" in log.read_bytes())
        launched = sorted(world.instance.marked_processes("civitdl"))
        link.abort()

    await world.service.start()
    await until(lambda: "job_reattached" in [row[0] for row in _events(database)])
    assert sorted(world.instance.marked_processes("civitdl")) == launched
    world.civitai.release()
    job = await world.service.ended(JOB)
    assert job["state"] == "completed", job
    history = await world.service.history(JOB)
    check_stream(history)
    assert [json.dumps(row) for row in _events(database)][: len(before)] == before
    assert [request.bytes for request in world.civitai.downloads(1001)] == [model.size_bytes]


def _filled(template: Path, placeholders: dict[str, str]) -> str:
    text = template.read_text(encoding="utf-8")
    for name, value in placeholders.items():
        text = text.replace(name, value)
    return text


def _events(database: Path) -> list[tuple[str, int, str]]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute("select type, sequence, data_json from events order by position").fetchall()
    finally:
        connection.close()
