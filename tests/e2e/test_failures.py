"""How the real civitdl fails, and how it succeeds in unusual ways: the right cause, the tool's own words."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.marks import needs_root
from tests.kit.service import ERROR, Watcher, check_stream


async def install(world: World, *cards: str, ui_home: Path | None = None) -> tuple[dict[str, Any], list[Any]]:
    """Run a job to its end; returns its terminal event and its history."""
    job_id = await world.service.install(world.instance, ui_home or world.ui_home, *cards)
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await watcher.end()
    await watcher.leave()
    check_stream(watcher.events)
    return watcher.events[-1], watcher.received


def failure(received: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return next(payload for _, payload in received if payload["type"] == "resource_failed")


@pytest.mark.parametrize(
    ("faults", "cause", "words"),
    [
        ({"requires_key": "key-of-somebody"}, "auth_required", "requires a valid API Key"),
        ({"status": 403}, "forbidden", "API Status Code 403"),
        ({"status": 404}, "not_found", "API Status Code 404"),
        ({"status": 500}, "server_error", "API Status Code 500"),
        ({"status": 429}, "rate_limited", "API Status Code 429"),
        ({"api_status": 404}, "not_found", "failed when trying to request metadata"),
        ({"drop_after_bytes": 700_000, "size_bytes": 2_000_000}, "network", "Connection broken"),
    ],
)
async def test_downloads_that_fail(world: World, faults: dict[str, Any], cause: str, words: str) -> None:
    good = world.model(StandInModel(id=1001, name="Good", size_bytes=300_000))
    bad = world.model(StandInModel(id=1002, name="Bad", **faults))
    ended, received = await install(world, bad, good)
    assert received[-1][0] == ERROR
    assert (ended["cause"], ended["installed"], ended["total"]) == (cause, 1, 2)
    failed = failure(received)
    assert failed["cause"] == cause
    assert failed["exit_code"] == 0
    assert failed["hint"]
    assert words in failed["error"]
    assert any(words in line for line in failed["tail"])
    assert [entry["state"] for entry in ended["results"]] == ["failed", "installed"]


async def test_one_model_of_a_batch_fails(world: World) -> None:
    world.civitai.add(
        StandInModel(id=1001, name="Same name", size_bytes=300_000),
        StandInModel(id=1002, name="Same name", status=404),
        StandInModel(id=1003, name="Other", size_bytes=300_000),
    )
    card = world.card("loras/batch.md", 'civitdl 1001 1002 1003 "$UI_HOME/models/loras"')
    ended, received = await install(world, card)
    assert (ended["cause"], ended["installed"], ended["total"]) == ("not_found", 0, 1)
    completed = [payload["name"] for _, payload in received if payload["type"] == "stage_complete"]
    assert completed == ["Same name", "Other"]


async def test_no_civitdl(world: World) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_PROVISION_TOOLS="false")
    world.instance._env["PATH"] = "/usr/bin:/bin"
    await world.instance.stop()
    await world.instance.start()
    card = world.model(StandInModel(id=1001, name="Never"))
    ended, received = await install(world, card)
    assert (ended["cause"], ended["installed"], ended["total"]) == ("tool_missing", 0, 1)
    assert failure(received)["exit_code"] == 127
    assert "civitdl: command not found" in failure(received)["tail"][-1]


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "read_only"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@needs_root
async def test_a_folder_that_cannot_be_written(world: World, read_only_folder: Path) -> None:
    card = world.model(StandInModel(id=1001, name="Nowhere"))
    ended, received = await install(world, card, ui_home=read_only_folder)
    assert (ended["cause"], ended["installed"], ended["total"]) == ("permission", 0, 1)
    assert any("Read-only file system" in line for line in failure(received)["tail"])


async def test_a_second_install_and_a_download_without_length(world: World) -> None:
    model = StandInModel(id=1001, name="Again", size_bytes=400_000)
    first = world.model(model)
    elsewhere = world.model(model, "checkpoints")
    unknown = world.model(StandInModel(id=1002, name="No length", size_bytes=400_000, has_length=False))
    assert (await install(world, first))[0]["type"] == "job_completed"
    ended, received = await install(world, first)
    assert ended["type"] == "job_completed"
    assert [payload["type"] for _, payload in received if payload["type"].startswith(("file_", "output"))] == [
        "file_kept"
    ]
    ended, received = await install(world, elsewhere)
    assert ended["type"] == "job_completed"
    assert any("Copying to new path" in payload.get("line", "") for _, payload in received)
    ended, received = await install(world, unknown)
    assert ended["type"] == "job_completed"
    bars = [payload for _, payload in received if payload.get("stage") == "model"]
    assert bars
    assert {bar["percent"] for bar in bars} == {None}


@pytest.mark.parametrize(
    ("script", "stage", "name"),
    [
        ('wget -O "$UI_HOME/x.bin" https://civitai.com/files/1001.safetensors', "download", "x.bin"),
        ('curl -fo "$UI_HOME/x.bin" https://civitai.com/files/1001.safetensors', "download", "Card other/tool.md"),
    ],
)
async def test_other_tools(world: World, script: str, stage: str, name: str) -> None:
    world.civitai.add(StandInModel(id=1001, name="Plain", size_bytes=4_000_000, bytes_per_second=4_000_000))
    ended, received = await install(world, world.card("other/tool.md", script))
    assert ended["type"] == "job_completed", received
    payloads = [payload for _, payload in received]
    payloads = payloads[: [payload["type"] for payload in payloads].index("verification_started")]
    # A tool that prints no name has the one of its run, where the instance records runs.
    name = "x.bin" if any(payload["type"] == "run_started" for payload in payloads) else name
    assert [p["name"] for p in payloads if p["type"] in ("stage_start", "stage_complete")] == [name, name]
    bars = [payload for payload in payloads if payload["type"] == "progress"]
    assert bars[-1]["percent"] == 100
    assert {bar["stage"] for bar in bars} == {stage}


@pytest.mark.parametrize(
    ("script", "cause", "exit_code"),
    [
        ("wget -O x https://civitai.com/files/4.safetensors", "not_found", 8),
        ("curl -fO https://civitai.com/files/4.safetensors", "not_found", 22),
        ("curl -sf https://civitai.com/files/4.safetensors", "unknown", 22),
        ("wget -O x https://nowhere.example/x", "network", 4),
        ("kill -KILL $$", "killed", 137),
    ],
)
async def test_other_tools_that_fail(world: World, script: str, cause: str, exit_code: int) -> None:
    ended, received = await install(world, world.card("other/tool.md", script))
    assert (ended["cause"], failure(received)["exit_code"]) == (cause, exit_code), failure(received)


async def test_a_time_limit(world: World) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_RESOURCE_TIMEOUT="3")
    ended, received = await install(world, world.card("other/slow.md", "echo begin; sleep 90"))
    assert ended["cause"] == "timeout"
    assert failure(received)["tail"] == ["begin"]


async def test_secrets_never_leave(world: World) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_CIVITAI_API_KEY="the-key-of-the-user")
    keyed = world.model(StandInModel(id=1001, name="Keyed", size_bytes=300_000, requires_key="the-key-of-the-user"))
    loud = world.card(
        "other/loud.md",
        'cat "$RESOURCE_INSTALLER_ATTEMPT/config/civitdl/config.json"\n'
        'echo "https://x.example/f?token=abc123def&ok=1"; exit 1',
    )
    ended, received = await install(world, keyed, loud)
    assert [entry["state"] for entry in ended["results"]] == ["installed", "failed"]
    for text in ("the-key-of-the-user", "abc123def"):
        assert text not in str(received)
        assert text not in world.service.log
        for file in world.folder.glob("installer.sqlite3*"):
            assert text.encode() not in file.read_bytes()
    assert "[redacted]" in str(received)
