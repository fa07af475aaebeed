"""Asks the site that a link leads to."""

from __future__ import annotations

from dataclasses import replace

from service.errors import FieldError, InvalidRequest
from service.links.civitai import Civitai
from service.links.direct import Direct
from service.links.found import Found
from service.links.huggingface import HuggingFace
from service.links.recognition import CivitaiLink, DirectLink, HuggingFaceLink, recognise
from service.outbound import Outbound


class LinkReader:
    """``civitai_url``: where CivitAI's API is asked, None for the host of each link. ``huggingface_url``: the same."""

    def __init__(self, outbound: Outbound, *, civitai_url: str | None, huggingface_url: str) -> None:
        self._civitai = Civitai(outbound, civitai_url)
        self._huggingface = HuggingFace(outbound, huggingface_url)
        self._direct = Direct(outbound)

    async def read(self, url: str, *, file: str | None = None, folder: str | None = None) -> Found:
        """``file``: which file of a repository. ``folder``: below models/, instead of the one that fits. Raises
        InvalidRequest, UnknownLink, KeyNeeded, NoModelFile, AddressRefused, OutboundError."""
        link = recognise(url)
        if file is not None and not (isinstance(link, HuggingFaceLink) and not link.is_file):
            message = "only a link to a repository of Hugging Face leaves a file to be chosen"
            raise InvalidRequest(message, [FieldError("file", message)])
        found = await self._read(link, file)
        return found if folder is None else replace(found, folder=folder, folder_is_guess=False)

    async def _read(self, link: CivitaiLink | HuggingFaceLink | DirectLink, file: str | None) -> Found:
        if isinstance(link, CivitaiLink):
            return await self._civitai.read(link)
        if isinstance(link, HuggingFaceLink):
            return await self._huggingface.read(link, file)
        return await self._direct.read(link)
