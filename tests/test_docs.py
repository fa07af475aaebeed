"""Prose that names things: every link works, every `make` target and every name exists, every module has its line."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from service.config import OTHER_VARIABLES, PREFIX, Settings
from tests.kit.pages import BLOCK, CODE, LINK, ROOT, all_pages, anchors, page, prose

PAGES = all_pages()
# The pages whose code spans name parts of the project, where a name that does not exist breaks the build.
NAMING = ("ARCHITECTURE.md",)
# Where the paths in them begin.
ROOTS = ("", "service", "service/events", "service/web", "service/runner/instance", "dashboard/src", "tests")
SOURCES = ("service/**/*", "dashboard/src/**/*", "migrations/**/*", "tests/**/*.py", "scripts/*", "benchmarks/**/*.py")
TEXT = {".py", ".sh", ".ts", ".tsx", ".css", ".md", ".toml", ".json", ".mako", ""}
MEMBER = re.compile(r"(\w+)\.(\w+)")
# Made by the build, so not in a fresh checkout.
BUILT = ("service/web/dashboard/",)
PATH = re.compile(r"(?P<path>[\w.*~/-]*/[\w.*/-]*|[\w-]+\.(?:py|ts|tsx|sh|md|toml|json))(?P<symbols>:{1,2}[\w.]+)?")


@cache
def sources() -> dict[Path, str]:
    """The text of every source file."""
    paths = [ROOT / "pyproject.toml", ROOT / "Makefile"]
    paths += [path for pattern in SOURCES for path in ROOT.glob(pattern) if path.suffix in TEXT and path.is_file()]
    paths = [path for path in paths if "node_modules" not in path.parts and path != Path(__file__)]
    return {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}


@cache
def words() -> set[str]:
    return set(re.findall(r"\w+", "\n".join(sources().values())))


def is_there(code: str) -> bool:
    """Whether what a code span names exists: a path (with a symbol in it), ``owner.member``, else every word of it."""
    # `events/tools/<tool>.py` stands for any of them.
    if code in BUILT:
        return True
    found = PATH.fullmatch(re.sub(r"<\w+>", "*", code))
    if found is not None and not code.startswith(("~", "/")):
        paths = [path for root in ROOTS for path in (ROOT / root).glob(found["path"].strip("/"))]
        if paths or "/" in code.strip("/") or not code.endswith("/"):
            symbols = (found["symbols"] or "").strip(":")
            return any(not symbols or (path.is_file() and symbols in sources()[path]) for path in paths)
    member = MEMBER.fullmatch(code)
    if member is not None:
        return any(_has_member(path, text, *member.groups()) for path, text in sources().items())
    return set(re.findall(r"[^\W\d]\w+", code)) <= words()


def _has_member(path: Path, text: str, owner: str, name: str) -> bool:
    """Whether this file is the module ``owner``, or has a class of that name, and defines ``name``."""
    is_owner = path.stem == owner or re.search(rf"\bclass {owner}\b", text) is not None
    return is_owner and re.search(rf"\b(?:def|class|function|const) {name}\b|^ *{name}\b *[:=]", text, re.M) is not None


@pytest.mark.parametrize("name", NAMING)
def test_every_name_exists(name: str) -> None:
    drawings = [block["text"] for block in BLOCK.finditer(PAGES[name]) if not block["language"]]
    drawn = [member[0] for text in drawings for member in MEMBER.finditer(text)]
    missing = [code for code in CODE.findall(prose(PAGES[name])) + drawn if not is_there(code)]
    assert missing == [], f"{name} names what does not exist"


@pytest.mark.parametrize(
    "code",
    [
        "events/no_such.py",
        "events/fold.py:NO_SUCH",
        "NoSuchClassHere",
        "tests/e2e/no.py::x",
        "Journal.no_such",
        "no_such/",
    ],
)
def test_a_name_that_does_not_exist_is_found(code: str) -> None:
    assert not is_there(code)


def packages() -> dict[str, list[str]]:
    """The code spans of each item of the list of packages, by the package that begins it."""
    text = page("ARCHITECTURE.md").partition("## Packages\n")[2].partition("\nBeside ")[0]
    items = [CODE.findall(item) for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]
    return {names[0]: names[1:] for names in items}


def modules(folder: Path) -> set[str]:
    """The modules and packages directly in a folder: those with code, not those that only hold a docstring."""
    found = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    return found | {
        path.name for path in folder.iterdir() if path.is_dir() and (any(path.glob("*.py")) or any(path.glob("*.sh")))
    }


def test_every_package_has_its_line_and_every_module_its_word() -> None:
    named = packages()
    found = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "service").rglob("__init__.py")}
    # Small packages may be explained in the line of the package that they stand in.
    inner = {f"{package}{name}/" for package, names in named.items() for name in names}
    assert found <= set(named) | inner
    for package, names in named.items():
        here = modules(ROOT / package)
        packages_inside = {path.removeprefix(package).strip("/") for path in named if path.startswith(package)}
        assert set(names) <= here, f"{package} has no such module"
        assert here <= set(names) | packages_inside, f"ARCHITECTURE.md does not say what these are for in {package}"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_link_inside_the_project_works(name: str) -> None:
    for found in LINK.finditer(prose(PAGES[name])):
        target = found["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in set(anchors(file.read_text(encoding="utf-8"))), target


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )make ([\w-]+)", PAGES[name], re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_setting_that_is_named_exists(name: str) -> None:
    known = {PREFIX + setting.upper() for setting in Settings.model_fields} | set(OTHER_VARIABLES)
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", PAGES[name])) <= known
