"""Any address of a file: its size and name, as far as its server says them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from yarl import URL

from service.errors import FieldError, NoModelFile
from service.links import folders
from service.links.found import TITLE_CHARACTERS_MAX, Found, FoundFile, base_name, byte_count, line
from service.links.recognition import DirectLink
from service.links.site import refuse
from service.outbound import Answer, Outbound

BODY_BYTES_MAX = 64 * 1024
_NAMED = re.compile(r'filename\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.){0,500})"|(?P<plain>[^;\s]{1,500}))', re.IGNORECASE)
_NAMED_UTF8 = re.compile(r"filename\*\s*=\s*UTF-8'[\w-]{0,20}'(?P<name>[^;\s]{1,1500})", re.IGNORECASE)
_RANGE = re.compile(r"bytes 0-0/(\d{1,15})")
_PAGES = ("text/html", "application/xhtml+xml", "text/plain", "application/json")


class Direct:
    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def read(self, link: DirectLink) -> Found:
        """Raises UnknownLink, KeyNeeded, NoModelFile, AddressRefused, OutboundError."""
        url = str(link.url)
        answer = await self._outbound.fetch(url, method="HEAD", bytes_max=0)
        if answer.status in (400, 403, 405, 501):
            # Some servers do not know HEAD.
            answer = await self._outbound.fetch(url, bytes_max=BODY_BYTES_MAX, headers={"Range": "bytes=0-0"})
        refuse(
            answer,
            site=link.url.host or "the site",
            missing="there is nothing at this address: check the link",
            key="the site asks for an account: the service has no key for it; write a card by hand",
        )
        name = _name(answer, link.url)
        _check_content(answer, name)
        guess = folders.of_path(link.url.parts[:-1])
        return Found(
            source="direct",
            title=line(name.rpartition(".")[0] or name, TITLE_CHARACTERS_MAX) or "model",
            folder=guess or folders.guessed(name, link.url.path),
            folder_is_guess=True,
            file=FoundFile(name=name, size=_size(answer)),
            address=url,
            url=url,
        )


def _name(answer: Answer, url: URL) -> str:
    """By the server, else by the address: the one that was given, and the one that answered. Raises NoModelFile."""
    disposition = answer.headers.get("Content-Disposition", "")[:4_000]
    utf8, named = _NAMED_UTF8.search(disposition), _NAMED.search(disposition)
    given = [unquote(utf8["name"])] if utf8 is not None else []
    given += [named["quoted"] or named["plain"] or ""] if named is not None else []
    names = [name for text in (*given, url.name, answer.url.name) if (name := base_name(text)) is not None]
    found = next(filter(folders.is_model_file, names), None)
    if found is None:
        message = "the name of what lies there is no model's: it ends with none of " + ", ".join(folders.SUFFIXES)
        raise NoModelFile(message, [FieldError("url", message)])
    return found


def _check_content(answer: Answer, name: str) -> None:
    """Raises NoModelFile for a page or a message under a model's name."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in _PAGES:
        message = f'what lies there as "{name}" is not a model file but {kind}: paste the address of the file itself'
        raise NoModelFile(message, [FieldError("url", message)])


def _size(answer: Answer) -> int | None:
    ranged = _RANGE.match(answer.headers.get("Content-Range", ""))
    return byte_count(ranged[1] if ranged is not None else answer.headers.get("Content-Length"))
