"""An instance that lies: a real sshd whose sessions run ``liar_shell.py``. The lies can change between two jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kit.sshd import Sshd

SHELL = Path(__file__).with_name("liar_shell.py")
Lies = Sequence[tuple[str, str]]


class Liar:
    """``lies(out=[(pattern, instead)], …)`` says what is replaced from the next session on; ``lies()``: nothing is."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._rules = folder / "rules.json"
        self.lies()
        self.sshd = Sshd(folder, force_command=f"{sys.executable} -S -E {SHELL} {self._rules}")

    def lies(self, *, out: Lies = (), err: Lies = (), **more: Any) -> None:
        """``more``: before, drip and mode of ``liar_shell.py``."""
        new = self._rules.with_suffix(".new")
        new.write_text(json.dumps({"out": list(out), "err": list(err), **more}), encoding="utf-8")
        new.replace(self._rules)
