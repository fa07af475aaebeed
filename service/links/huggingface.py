"""A file or a repository of Hugging Face, by its API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from service.errors import FieldError, NoModelFile, UnknownLink
from service.links import folders
from service.links.found import (
    TITLE_CHARACTERS_MAX,
    Choice,
    Found,
    FoundFile,
    Missing,
    base_name,
    byte_count,
    line,
    lines,
    mapping,
    mappings,
    sha256,
)
from service.links.recognition import HuggingFaceLink
from service.links.site import ask_json, refuse
from service.outbound import Outbound

DEFAULT_BASE = "https://huggingface.co"
KEY_SETTING = "INSTALLER_HF_TOKEN"
SITE = "Hugging Face"
FILES_MAX = 20_000
CHOICES_MAX = 200


class HuggingFace:
    """``base``: where it is asked; cards name the site itself."""

    def __init__(self, outbound: Outbound, base: str) -> None:
        self._outbound = outbound
        self._base = base

    async def read(self, link: HuggingFaceLink, file: str | None) -> Found:
        """``file``: the path of one of the repository's files, where the link names none. Raises UnknownLink,
        KeyNeeded, NoModelFile, AddressRefused, OutboundError."""
        info = await ask_json(
            self._outbound,
            f"{self._base}/api/models/{link.repository}/revision/{quote(link.revision, safe='')}?blobs=true",
            site=SITE,
            missing=f"{SITE} has no repository {link.repository} with a revision {link.revision}: check the link",
            key=self._key_message(link),
        )
        siblings = mappings(info.get("siblings"), FILES_MAX)
        files = {name: each for each in siblings if isinstance(name := each.get("rfilename"), str)}
        path, choices = _pick(link, file, files)
        found = _found(link, info, path, choices)
        return found if path is None else await self._with_file(link, found, path, files[path], info)

    async def _with_file(
        self, link: HuggingFaceLink, found: Found, path: str, sibling: dict[str, Any], info: dict[str, Any]
    ) -> Found:
        """Size, hash, and whether a token is needed, as the download itself says."""
        at = f"{quote(link.revision, safe='')}/{quote(path)}"
        answer = await self._outbound.fetch(
            f"{self._base}/{link.repository}/resolve/{at}", method="HEAD", bytes_max=0, follows=False
        )
        is_gated = info.get("gated") not in (None, False) or info.get("private") is True
        is_refused = answer.status in (401, 403)
        if not is_refused and answer.status not in (301, 302, 303, 307, 308):
            refuse(answer, site=SITE, missing=f"{SITE} has no file {path} in {link.repository}", key="")
        lfs = mapping(sibling.get("lfs"))
        linked = answer.headers.get("X-Linked-Size"), answer.headers.get("X-Linked-ETag")
        found_file = FoundFile(
            name=base_name(path) or "model.safetensors",
            size=byte_count(linked[0]) or byte_count(lfs.get("size")) or byte_count(sibling.get("size")),
            sha256=sha256(linked[1]) or sha256(lfs.get("sha256")) or sha256(lfs.get("oid")),
        )
        found = replace(
            found,
            file=found_file,
            address=f"{DEFAULT_BASE}/{link.repository}/resolve/{at}",
            asks_for_token=is_gated or is_refused,
        )
        if not is_refused:
            return found
        return replace(found, missing=(Missing(setting=KEY_SETTING, message=self._gate_message(link)),))

    def _key_message(self, link: HuggingFaceLink) -> str:
        """The site answers the same for what is not there and for what is private."""
        if self._outbound.has_token(self._base):
            return (
                f"{SITE} has no repository {link.repository}, or the token that the service has may not see it: check "
                "the link, and the rights of the token"
            )
        return (
            f"{SITE} has no repository {link.repository} for everybody: check the link; if it is private, set "
            f"{KEY_SETTING} to a token that may see it, or add the token on the page Keys or with "
            "`resource-installer keys set huggingface`"
        )

    def _gate_message(self, link: HuggingFaceLink) -> str:
        page = f"{DEFAULT_BASE}/{link.repository}"
        if self._outbound.has_token(self._base):
            return (
                f"the token that the service has may not download this gated file: accept its terms at {page} with "
                "that account, and let the token read gated repositories"
            )
        return (
            f"this repository is gated: accept its terms at {page}, then add a token of that account on the page Keys "
            f"or with `resource-installer keys set huggingface`, or set {KEY_SETTING} to it"
        )


def _pick(
    link: HuggingFaceLink, file: str | None, files: dict[str, dict[str, Any]]
) -> tuple[str | None, tuple[Choice, ...]]:
    """The file that is meant, or None and the choices. Raises UnknownLink, NoModelFile."""
    wanted = link.path if link.is_file else file
    if wanted is not None:
        if wanted not in files:
            where, message = "url" if link.is_file else "file", f"{link.repository} has no file {wanted[:200]}"
            raise UnknownLink(message, [FieldError(where, message)])
        if not folders.is_model_file(wanted):
            message = f"{wanted[:200]} is not a model file: these end with {', '.join(folders.SUFFIXES)}"
            raise NoModelFile(message, [FieldError("url" if link.is_file else "file", message)])
        return wanted, ()
    inside = f"{link.path}/" if link.path else ""
    models = sorted(name for name in files if name.startswith(inside) and folders.is_model_file(name))
    if not models:
        message = f"{link.repository} has no model file{f' in {link.path}' if inside else ''}: paste a file's own link"
        raise NoModelFile(message, [FieldError("url", message)])
    if len(models) == 1:
        return models[0], ()
    sizes = (mapping(files[name].get("lfs")).get("size") or files[name].get("size") for name in models[:CHOICES_MAX])
    return None, tuple(Choice(file=n, size=byte_count(s)) for n, s in zip(models[:CHOICES_MAX], sizes, strict=True))


def _found(link: HuggingFaceLink, info: dict[str, Any], path: str | None, choices: tuple[Choice, ...]) -> Found:
    card = mapping(info.get("cardData"))
    tags = lines(info.get("tags"), 40)
    *above, name = (path or "").split("/")
    of_path = folders.of_path(above)
    by_tag = next((folders.of_path([tag]) for tag in tags if tag in ("lora", "controlnet", "text-encoder")), None)
    repository = link.repository.rpartition("/")[2]
    stem = name.rpartition(".")[0]
    base = card.get("base_model")
    return Found(
        source="huggingface",
        title=line(f"{repository} {stem}".strip() if stem != repository else stem, TITLE_CHARACTERS_MAX) or "model",
        folder=of_path or by_tag or folders.guessed(name, repository),
        folder_is_guess=of_path is None,
        address="",
        url=f"{DEFAULT_BASE}/{link.repository}",
        choices=choices,
        basemodel=line(base, 100) or (lines(base, 3) or (None,))[0],
        license=line(card.get("license_name"), 100) or line(card.get("license"), 100),
        creator=line(link.repository.partition("/")[0], 100) if "/" in link.repository else None,
        trigger_words=tuple(word for word in [line(card.get("instance_prompt"), 100)] if word is not None),
        tags=tuple(tag for tag in tags if ":" not in tag)[:20],
    )
