"""The sample cards: in a wheel beside the package, in a checkout in ``resources/``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def copy_samples(folder: Path) -> int:
    """Make ``folder`` with the sample cards in it; returns how many they are. Raises OSError.

    The copy is made beside it and renamed, so that a start that was interrupted leaves no half library.
    """
    packaged = _PACKAGE / "sample_cards"
    samples = packaged if packaged.is_dir() else _PACKAGE.parent / "resources"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        copied = Path(shutil.copytree(samples, Path(beside) / folder.name))
        copied.rename(folder)
    return sum(1 for _ in folder.rglob("*.md"))
