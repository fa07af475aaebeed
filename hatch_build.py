"""The wheel's build hook: a wheel contains the built pages; an editable install does not need them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from build_dashboard import FROM_PYPI, build, has_node


class DashboardHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if has_node() else [FROM_PYPI]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        folder = build(Path(self.root))
        # Git ignores the built pages, so the wheel would leave them out.
        build_data["artifacts"].append(f"{folder.relative_to(self.root)}/**")
