"""Sizes, complexity and words to avoid, of this checkout or of another: ``python scripts/figures.py [folder]``.

A function's lines go from its ``def`` to its end; complexity is what ruff counts. Prose is the pages, and the
docstrings and comments of service/.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
FILE_LINES_MAX = 250
FUNCTION_LINES_MAX = 40
AVOIDED = ("behind", "is no")
COMPLEXITY = re.compile(r"^(?P<place>\S+): C901 `(?P<name>[^`]+)` is too complex \((?P<complexity>\d+) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    place: str
    lines: int


def functions(root: Path, file: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            yield Function(place=f"{file.relative_to(root)}:{node.lineno} {node.name}", lines=lines)


def prose_of(source: str) -> str:
    """The docstrings and the comments."""
    comments = [
        token.string.lstrip("#!")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    docstrings = [text for node in nodes if (text := ast.get_docstring(node)) is not None]
    return "\n".join([*docstrings, *comments])


def pages(root: Path) -> Iterator[Path]:
    yield from root.glob("*.md")
    yield from (root / "docs").glob("**/*.md")


def complexities(root: Path) -> list[tuple[int, str]]:
    """Of every function of service/, as ruff counts them, the highest first."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "C901", "--output-format", "concise"]
    options = ["--config", "lint.mccabe.max-complexity=0", str(root / "service")]
    said = subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, check=False).stdout
    found = [match for line in said.splitlines() if (match := COMPLEXITY.match(line)) is not None]
    if not found:
        raise RuntimeError(f"ruff named no function:\n{said}")
    return sorted(((int(match["complexity"]), f"{match['place']} {match['name']}") for match in found), reverse=True)


def count(word: str, text: str) -> int:
    return len(re.findall(rf"\b{word}\b", re.sub(r"\s+", " ", text), re.IGNORECASE))


def show(root: Path) -> None:
    files = sorted((root / "service").rglob("*.py"))
    sources = {file: file.read_text(encoding="utf-8") for file in files}
    line_counts = {file: len(source.splitlines()) for file, source in sources.items()}
    all_functions = [function for file in files for function in functions(root, file)]
    lengths = [function.lines for function in all_functions]
    top = [entry for entry in (root / "service").iterdir() if entry.suffix == ".py" and entry.stem != "__init__"]
    in_code = "\n".join(prose_of(source) for source in sources.values())
    page_texts = [page.read_text(encoding="utf-8") for page in pages(root)]
    prose = "\n".join([in_code, *page_texts])
    worst = complexities(root)

    print(f"modules at the top of service/   {len(top)}")
    print(f"files, lines                     {len(files)}, {sum(line_counts.values()):,}")
    _list(f"files over {FILE_LINES_MAX} lines", _over(line_counts, FILE_LINES_MAX, root))
    print(
        f"function lines, median and p90   {statistics.median(lengths):g}, {statistics.quantiles(lengths, n=10)[-1]:g}"
    )
    long = [(each.lines, each.place) for each in all_functions if each.lines > FUNCTION_LINES_MAX]
    _list(f"functions over {FUNCTION_LINES_MAX} lines", sorted(long, reverse=True))
    print(f"highest complexity               {worst[0][0]} ({worst[0][1]})")
    print(f"prose in service/, of characters {len(in_code) / sum(map(len, sources.values())):.0%}")
    print(f"words of prose                   {len(prose.split()):,}")
    for word in AVOIDED:
        title = f'"{word}" in prose'
        print(f"{title:33}{count(word, prose)}")


def _over(line_counts: dict[Path, int], limit: int, root: Path) -> list[tuple[int, str]]:
    over = [(lines, str(file.relative_to(root))) for file, lines in line_counts.items() if lines > limit]
    return sorted(over, reverse=True)


def _list(title: str, entries: list[tuple[int, str]]) -> None:
    print(f"{title:33}{len(entries)}")
    for lines, place in entries:
        print(f"    {lines:5}  {place}")


if __name__ == "__main__":
    show(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE)
