"""Write the installed versions of everything that ``.[dev]`` names, and of what that needs, to constraints.txt.

Versions only, no addresses and no hashes: whoever installs chooses the index. A package that only another Python or
platform needs is not installed here and stays free.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "resource-installer"
FILE = Path(__file__).resolve().parents[1] / "constraints.txt"


def versions(root: Requirement) -> dict[str, str]:
    """The version of each installed package below this requirement, by its canonical name."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        try:
            package = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        found[canonicalize_name(wanted.name)] = package.version
        requirements = [Requirement(line) for line in package.requires or ()]
        waiting += [each for each in requirements if _applies(each, wanted.extras)]
    return found


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


if __name__ == "__main__":
    pinned = versions(Requirement(f"{PROJECT}[dev]"))
    del pinned[PROJECT]
    lines = (f"{name}=={version}\n" for name, version in sorted(pinned.items()))
    FILE.write_text("# The versions that were tried together: made by `make constraints`.\n" + "".join(lines))
