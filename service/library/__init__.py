"""Resource cards: Markdown files that say how to install something."""

from service.library.card_reader import parse_card
from service.library.cards import BrokenCard, CardFile, FrontMatter, Resource
from service.library.editor import CardEditor
from service.library.folder import CARD_BYTES_MAX, Library
from service.library.paths import PATH_CHARACTERS_MAX
from service.library.resolution import RESOURCES_MAX, ResolvedCard
from service.library.samples import copy_samples

__all__ = [
    "CARD_BYTES_MAX",
    "PATH_CHARACTERS_MAX",
    "RESOURCES_MAX",
    "BrokenCard",
    "CardEditor",
    "CardFile",
    "FrontMatter",
    "Library",
    "ResolvedCard",
    "Resource",
    "copy_samples",
    "parse_card",
]
