"""What a pasted link leads to. Pure: nothing is asked, so nothing but the link's own text is known here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from yarl import URL

from service.errors import FieldError, InvalidRequest
from service.events.redaction import Redactor

LINK_CHARACTERS_MAX = 2_048
CIVITAI_HOSTS = ("civitai.com", "civitai.red")
HUGGING_FACE_HOSTS = ("huggingface.co", "hf.co")

_BARE = re.compile(rf"(?:www\.)?(?:{'|'.join(map(re.escape, (*CIVITAI_HOSTS, *HUGGING_FACE_HOSTS)))})/", re.IGNORECASE)
_AIR = re.compile(
    r"(?:(?:urn:)?air:[\w.-]{1,60}:[\w.-]{1,60}:)?(?P<source>civitai|huggingface):(?P<id>[\w./-]{1,200})"
    r"(?:@(?P<version>[\w.-]{1,100}))?(?::[\w.-]*)?(?:\.\w+)?",
    re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}", re.ASCII)
_redacted = Redactor()


@dataclass(frozen=True, slots=True, kw_only=True)
class CivitaiLink:
    """``host``: one of CIVITAI_HOSTS. At least one of the numbers is known; without a version the newest is meant."""

    host: str
    model_id: int | None = None
    version_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceLink:
    """``path``: of a file, if ``is_file``, else of a folder, empty for the whole repository."""

    repository: str
    revision: str = "main"
    path: str = ""
    is_file: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectLink:
    url: URL


Link = CivitaiLink | HuggingFaceLink | DirectLink


def recognise(text: str) -> Link:
    """Raises InvalidRequest, which names ``url``."""
    bare = text.strip().strip("<>\"'").strip()
    if not bare:
        raise _invalid("paste a link: a CivitAI page, a Hugging Face file or repository, or the address of a file")
    if len(bare) > LINK_CHARACTERS_MAX or any(not mark.isprintable() or mark == " " for mark in bare):
        raise _invalid(f"a link is one line without spaces, of at most {LINK_CHARACTERS_MAX} characters")
    air = _AIR.fullmatch(bare)
    if air is not None:
        return _of_air(air)
    url = _url(f"https://{bare}" if _BARE.match(bare) else bare)
    host = (url.host or "").lower().removeprefix("www.")
    if host in CIVITAI_HOSTS:
        return _of_civitai(host, url)
    if host in HUGGING_FACE_HOSTS:
        return _of_hugging_face(url)
    if _redacted(str(url)) != str(url):
        raise _invalid("the address holds a key or a signature: a card is no place for either, and signatures expire")
    return DirectLink(url=url)


def _url(text: str) -> URL:
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise _invalid("this is not an address") from None
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise _invalid("a link begins with https:// or http://, or is an AIR like civitai:1678575@1900322")
    return url.with_fragment(None)


def _of_air(air: re.Match[str]) -> Link:
    source, name, version = air["source"].lower(), air["id"], air["version"]
    if source == "huggingface":
        if name.count("/") != 1:
            raise _invalid("an AIR of Hugging Face names owner/repository")
        return HuggingFaceLink(repository=_repository(name.split("/")), revision=version or "main")
    model, of_version = _number(name), _number(version or "")
    if model is None or (version is not None and of_version is None):
        raise _invalid("an AIR of CivitAI names numbers: civitai:1678575@1900322")
    return CivitaiLink(host=CIVITAI_HOSTS[0], model_id=model, version_id=of_version)


def _of_civitai(host: str, url: URL) -> CivitaiLink:
    parts = [part for part in url.parts if part != "/"]
    if parts[:2] == ["api", "v1"]:
        parts = parts[2:]
    elif parts[:3] == ["api", "download", "models"]:
        parts = ["model-versions", *parts[3:]]
    number = _number(parts[1]) if len(parts) > 1 else None
    if number is not None and parts[0] == "model-versions":
        return CivitaiLink(host=host, version_id=number)
    if number is not None and parts[0] == "models":
        given = url.query.get("modelVersionId")
        version = _number(given or "")
        if given and version is None:
            raise _invalid("modelVersionId must be a number: copy the address of the model's page again")
        return CivitaiLink(host=host, model_id=number, version_id=version)
    raise _invalid("this page of CivitAI is not a model: open the model's own page, /models/…, and paste its address")


def _of_hugging_face(url: URL) -> HuggingFaceLink:
    parts = [part for part in url.parts if part not in ("/", "")]
    if parts and parts[0] in ("datasets", "spaces"):
        raise _invalid(f"this leads to Hugging Face's {parts[0]}: only repositories of models are read")
    at = next((at for at, part in enumerate(parts[:3]) if part in ("blob", "resolve", "tree", "raw")), None)
    # The oldest repositories have no owner.
    if at is None and len(parts) < 2:
        raise _invalid("this page of Hugging Face is not a repository: paste https://huggingface.co/OWNER/REPOSITORY")
    repository = _repository(parts[:2] if at is None else parts[:at])
    if at is None:
        return HuggingFaceLink(repository=repository)
    # An encoded slash is one.
    revision, path = (parts[at + 1 : at + 2] or ["main"])[0], "/".join(parts[at + 2 :]).split("/")
    path = [part for part in path if part]
    if {".", ".."} & {*path, *revision.split("/")} or "\\" in revision + "".join(path) or len(revision) > 100:
        raise _invalid("the path in the repository must not hold . or ..")
    is_file = parts[at] != "tree"
    if is_file and not path:
        raise _invalid("the link names no file: open the file's page and paste its address")
    return HuggingFaceLink(repository=repository, revision=revision, path="/".join(path), is_file=is_file)


def _repository(parts: list[str]) -> str:
    if not 1 <= len(parts) <= 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise _invalid("this is not the name of a repository: it is OWNER/REPOSITORY")
    return "/".join(parts)


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, [FieldError("url", message)])
