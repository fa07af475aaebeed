"""Which paths can be those of a card."""

from __future__ import annotations

from pathlib import PurePosixPath

PATH_CHARACTERS_MAX = 255


def wrong_path(path: str) -> str | None:
    """Why it cannot be the path of a card; None for one that can."""
    if not path or len(path) > PATH_CHARACTERS_MAX:
        return f"it must have 1 to {PATH_CHARACTERS_MAX} characters"
    if any(ord(character) < 32 or ord(character) == 127 or "\ud800" <= character <= "\udfff" for character in path):
        return "it holds characters that no path of a card may hold"
    if path.startswith("/") or "\\" in path:
        return "it must be relative to the resource folder, with / between its parts"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "it must not hold empty parts, . or .."
    if is_hidden(path):
        return "a hidden file is not a card"
    if not path.endswith(".md"):
        return "a card is a .md file"
    if is_readme(path):
        return "a README is about the folder"
    return None


def is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(path).parts)


def is_readme(path: str) -> bool:
    return PurePosixPath(path).name.lower() == "readme.md"


def short(path: str) -> str:
    """For a message."""
    printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return printable if len(printable) <= 120 else printable[:117] + "..."
