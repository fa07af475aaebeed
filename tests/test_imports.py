"""Imports that leave something out. Each case is a process of its own, since a module that is imported stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose own imports load a part that is large."""
    folder = tmp_path / "boxes"
    folder.mkdir()
    (folder / "__init__.py").write_text("from boxes.small import SMALL\nfrom boxes.large import LARGE\n")
    (folder / "small.py").write_text("import boxes.base\nSMALL = boxes.base.SIZE\n")
    (folder / "base.py").write_text("SIZE = 1\n")
    (folder / "large.py").write_text("LARGE = 1000\n")
    (folder / "broken.py").write_text("raise RuntimeError('this part is broken')\n")
    return tmp_path


def said(folder: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(folder)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


ALONE = "from service.imports import hidden, import_alone\n"


def test_a_part_is_imported_without_what_the_package_would_load(package: Path) -> None:
    program = (
        ALONE
        + """
import_alone("boxes", "small")
from boxes import SMALL
import boxes.small
print(SMALL, boxes.small.SMALL, "boxes.large" in sys.modules)
import boxes.large
print(boxes.large.LARGE)
"""
    )
    assert said(package, program) == "1 1 False\n1000\n"


def test_a_package_that_is_loaded_stays_as_it_is(package: Path) -> None:
    program = (
        ALONE + 'import boxes\nimport_alone("boxes", "small")\nprint(sys.modules["boxes"] is boxes, boxes.LARGE)\n'
    )
    assert said(package, program) == "True 1000\n"


def test_a_part_that_fails_leaves_the_package_to_be_imported(package: Path) -> None:
    program = (
        ALONE
        + """
for name, part in (("boxes", "broken"), ("boxes", "none"), ("crates", "small")):
    try:
        import_alone(name, part)
    except Exception as error:
        print(type(error).__name__)
import boxes
print(boxes.LARGE)
"""
    )
    assert said(package, program) == "RuntimeError\nModuleNotFoundError\nModuleNotFoundError\n1000\n"


def test_what_is_hidden_is_there_again_afterwards(package: Path) -> None:
    program = (
        ALONE
        + """
with hidden("boxes"):
    try:
        import boxes
    except ImportError:
        print("absent")
import boxes
with hidden("boxes"):
    import boxes
print(boxes.LARGE)
"""
    )
    assert said(package, program) == "absent\n1000\n"
