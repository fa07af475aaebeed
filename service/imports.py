"""Imports that leave out what a server never uses: what is imported takes memory for as long as the process lives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Imports inside find none of these packages, as if they were not installed. A package that is loaded already
    stays as it is."""
    absent = [package for package in packages if package not in sys.modules]
    for package in absent:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]


def import_alone(package: str, part: str) -> None:
    """Import this module of a package, and let the package have what it has: the package's own imports, which load its
    other modules, do not run. A package that is loaded already stays as it is."""
    if package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    bare = sys.modules[package] = module_from_spec(spec)
    try:
        names = vars(import_module(f"{package}.{part}"))
    except BaseException:
        del sys.modules[package]
        raise
    parent, _, name = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, bare)
    # What it has already are its own modules: the part may have others of the same name.
    for name in names.keys() - vars(bare).keys():
        if not name.startswith("_"):
            setattr(bare, name, names[name])
