"""A ``ui_home`` that is not a ComfyUI: found out with the first look at the instance, and what is there is offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.runner.instance.remote import Remote, UiHome
from service.runner.instance.ssh import Connection
from service.runner.instance.ui_home import ui_home_warning
from tests.kit.sshd import Sshd


def comfyui(folder: Path, main: str = "main.py") -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / main).touch()
    return folder


@pytest.mark.parametrize("main", ["main.py", "launch.py", "webui.py"])
async def test_one_that_is_there_needs_no_word(connection: Connection, sshd: Sshd, main: str) -> None:
    there = comfyui(sshd.home / "it's here" / "ComfyUI", main)
    comfyui(sshd.home / "ComfyUI")
    found = await Remote(connection).look(str(there))
    assert (found.ui_home, found.elsewhere) == (UiHome.READY, ())
    assert ui_home_warning(str(there), found) is None


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("ComfyUI", "workspace/ComfyUI"),
        ("ComfyUI", "ComfyUI/models"),
        ("work/ComfyUI", "work"),
        ("work/ComfyUI", "work/ComfyUi"),
        ("apps/my comfy; echo $HOME/ui", "workspace/ComfyUI"),
    ],
)
async def test_what_is_found_elsewhere_is_offered(connection: Connection, sshd: Sshd, there: str, asked: str) -> None:
    expected = comfyui(sshd.home / there)
    ui_home = str(sshd.home / asked)
    warning = ui_home_warning(ui_home, await Remote(connection).look(ui_home))
    assert warning is not None
    assert (warning.code, warning.paths) == ("ui_home_missing", [str(expected)])
    assert ui_home in warning.text
    assert str(expected) in warning.text


async def test_one_that_is_missing_is_said_even_if_nothing_is_found(connection: Connection, sshd: Sshd) -> None:
    (sshd.home / "project").mkdir()
    (sshd.home / "project/main.py").touch()
    ui_home = str(sshd.home / "nowhere/ComfyUI")
    warning = ui_home_warning(ui_home, await Remote(connection).look(ui_home))
    assert warning is not None
    assert warning.paths == []
    assert "does not exist" in warning.text


async def test_a_volume_of_models_alone_is_left_in_peace(connection: Connection, sshd: Sshd) -> None:
    (sshd.home / "volume/models").mkdir(parents=True)
    ui_home = str(sshd.home / "volume")
    found = await Remote(connection).look(ui_home)
    assert found.ui_home is UiHome.OTHER
    assert ui_home_warning(ui_home, found) is None


async def test_at_most_five_are_offered(connection: Connection, sshd: Sshd) -> None:
    for n in range(9):
        comfyui(sshd.home / f"copy{n}")
    ui_home = str(sshd.home / "missing")
    assert len((await Remote(connection).look(ui_home)).elsewhere) == 5
