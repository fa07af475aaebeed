"""Every contract of import-linter catches what it forbids: a wrong import is planted in a copy of the service."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]


@pytest.mark.parametrize("contract", CONTRACTS, ids=[contract["name"] for contract in CONTRACTS])
def test_a_planted_import_breaks_the_contract(contract: dict[str, Any], tmp_path: Path) -> None:
    copy_service(tmp_path)
    plant(tmp_path, *wrong_import(contract))
    assert lint(tmp_path)[contract["name"]] == "BROKEN"


def test_a_new_module_needs_a_place_in_the_layers(tmp_path: Path) -> None:
    copy_service(tmp_path)
    assert set(lint(tmp_path).values()) == {"KEPT"}
    (tmp_path / "service/homeless.py").write_text("", encoding="utf-8")
    assert "BROKEN" in lint(tmp_path).values()


def copy_service(folder: Path) -> None:
    shutil.copytree(ROOT / "service", folder / "service", ignore=shutil.ignore_patterns("__pycache__", "dashboard"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def wrong_import(contract: dict[str, Any]) -> tuple[str, str]:
    """A module of the contract, and one that it must not import."""
    if contract["type"] == "layers":
        container = contract["containers"][0]
        highest, lowest = (re.split(r"\W+", contract["layers"][at])[0] for at in (0, -1))
        return f"{container}.{lowest}", f"{container}.{highest}"
    assert contract["type"] == "forbidden", contract
    return contract["source_modules"][0], contract["forbidden_modules"][0]


def plant(folder: Path, module: str, wrong: str) -> None:
    path = folder / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    file.write_text(f"{file.read_text(encoding='utf-8')}\nimport {wrong}\n", encoding="utf-8")


def lint(folder: Path) -> dict[str, str]:
    """The verdict on each contract, KEPT or BROKEN, by its name."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    return dict(re.findall(r"^(.+?) +(KEPT|BROKEN)\b", said, re.MULTILINE))
