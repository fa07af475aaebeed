"""From a link to a card: what the link means, what the site says of it, and the text of the card."""

from service.links.found import Choice, Found, FoundFile, Missing
from service.links.link_reader import LinkReader
from service.links.pictures import read_picture
from service.links.preview import Duplicate, Preview, make_preview
from service.links.recognition import LINK_CHARACTERS_MAX, recognise

__all__ = [
    "LINK_CHARACTERS_MAX",
    "Choice",
    "Duplicate",
    "Found",
    "FoundFile",
    "LinkReader",
    "Missing",
    "Preview",
    "make_preview",
    "read_picture",
    "recognise",
]
