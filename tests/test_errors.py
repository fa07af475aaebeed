"""The tree of errors: what is drawn is what is there, and each class answers as it is drawn."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import service
from service import errors
from service.errors import InstallerError

DRAWN = re.compile(r"[├└]── (\w+)(?: +(\d{3})  (\w+))?")
# These end a call inside their own module and never leave it.
PRIVATE = re.compile(r"_\w+")


def below(kind: type[InstallerError]) -> Iterator[type[InstallerError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from below(inner)


def test_the_tree_is_as_it_is_drawn() -> None:
    drawn = {name: (status, code) for name, status, code in DRAWN.findall(errors.__doc__ or "")}
    known = {kind.__name__: kind for kind in below(InstallerError) if kind.__module__ == errors.__name__}
    assert set(drawn) == set(known)
    for name, (status, code) in drawn.items():
        if status:
            assert (known[name].status, known[name].code) == (int(status), code), name
        else:
            # The same as those of the class above it.
            above: Any = known[name].__base__
            assert (known[name].status, known[name].code) == (above.status, above.code) or name == "RequestError"


def test_every_error_is_in_the_tree() -> None:
    found = []
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if module.name in ("service.__main__", "service.store.migrations"):
            continue
        members = vars(importlib.import_module(module.name)).values()
        found += [kind for kind in members if inspect.isclass(kind) and issubclass(kind, Exception)]
    ours = {kind for kind in found if kind.__module__.startswith("service.")}
    outside = {kind.__qualname__ for kind in ours if not issubclass(kind, InstallerError)}
    assert {name for name in outside if not PRIVATE.fullmatch(name)} <= {"TransitionRefused"}
