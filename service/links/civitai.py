"""A model of CivitAI, by its API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service.errors import FieldError, NoModelFile, OutboundError, UnknownLink
from service.links import folders
from service.links.found import (
    TITLE_CHARACTERS_MAX,
    Found,
    FoundFile,
    Missing,
    base_name,
    identity,
    line,
    lines,
    mapping,
    mappings,
    sha256,
)
from service.links.recognition import CIVITAI_HOSTS, CivitaiLink
from service.links.site import ask_json
from service.outbound import Outbound

KEY_SETTING = "INSTALLER_CIVITAI_API_KEY"
SITE = "CivitAI"
# Of CivitAI's levels, 1 is for everybody and 2 for 13 years and older.
NSFW_LEVEL_MAX = 2
# To whom the key goes.
CIVITAI_ORIGINS = tuple(f"https://{host}" for host in CIVITAI_HOSTS)
_NO_MODELS = ("config", "training data", "archive")
_UNSAFE = ("Danger", "Error")


class Civitai:
    """``base``: where the API is asked instead of at the link's own host."""

    def __init__(self, outbound: Outbound, base: str | None) -> None:
        self._outbound = outbound
        self._base = base

    async def read(self, link: CivitaiLink) -> Found:
        """Raises UnknownLink, KeyNeeded, NoModelFile, AddressRefused, OutboundError."""
        version: dict[str, Any] = {}
        model_id = link.model_id
        if model_id is None:
            version = await self._ask(link, f"model-versions/{link.version_id}")
            model_id = identity(version.get("modelId"))
            if model_id is None:
                raise OutboundError(f"{SITE} does not say to which model version {link.version_id} belongs")
        model = await self._ask(link, f"models/{model_id}")
        version = version or _version(model, link)
        return await self._with_missing_key(link, _found(link, model_id, model, version), version)

    async def _ask(self, link: CivitaiLink, path: str) -> dict[str, Any]:
        what, _, number = path.partition("/")
        return await ask_json(
            self._outbound,
            f"{self._api(link)}/api/v1/{path}",
            site=SITE,
            missing=f"{SITE} has no {what[:-1].replace('-', ' ')} {number}, or not for everybody: it may be deleted, "
            "unpublished, or shown at civitai.red alone",
            key=f"{SITE} shows this only with the key of an account that may see it: add it on the page Keys or "
            f"with `resource-installer keys set civitai`, or set {KEY_SETTING}",
        )

    async def _with_missing_key(self, link: CivitaiLink, found: Found, version: dict[str, Any]) -> Found:
        """Whether the download wants an account. Anything but a clear refusal tells nothing."""
        address = f"{self._api(link)}/api/download/models/{identity(version.get('id'))}"
        try:
            answer = await self._outbound.fetch(address, method="HEAD", bytes_max=0, follows=False)
        except OutboundError:
            return found
        if answer.status not in (401, 403):
            return found
        if not self._outbound.has_token(address):
            message = (
                f"{SITE} lets only accounts download this: before you install it, add your key on the page Keys or "
                f"with `resource-installer keys set civitai`, or set {KEY_SETTING}"
            )
            return replace(found, missing=(Missing(setting=KEY_SETTING, message=message),))
        note = f"{SITE} refuses this file with the key that the service has: it may be in early access, or paid for"
        return replace(found, notes=(*found.notes, note))

    def _api(self, link: CivitaiLink) -> str:
        return self._base or f"https://{link.host}"


def _version(model: dict[str, Any], link: CivitaiLink) -> dict[str, Any]:
    """The one that the link names, else the newest. Raises UnknownLink."""
    versions = mappings(model.get("modelVersions"))
    wanted = link.version_id
    found = next((each for each in versions if wanted is None or identity(each.get("id")) == wanted), None)
    if found is None or identity(found.get("id")) is None:
        message = f"this model of {SITE} has no version {wanted}" if wanted else f"this model of {SITE} has no version"
        raise UnknownLink(f"{message}: open its page and choose one", [FieldError("url", message)])
    return found


def _found(link: CivitaiLink, model_id: int, model: dict[str, Any], version: dict[str, Any]) -> Found:
    kind = line(model.get("type") or mapping(version.get("model")).get("type"), 50) or "unknown"
    file = _file(version)
    folder = folders.OF_CIVITAI.get(kind.lower())
    if file is None or (folder is None and kind.lower() != "other"):
        message = f'this is not a model file but of the type "{kind}": open its page and download it by hand'
        message = message if folder is None else f"this version has no model file: open its page on {SITE}"
        raise NoModelFile(message, [FieldError("url", message)])
    name = base_name(file.get("name")) or f"model_{model_id}.safetensors"
    if folder == "checkpoints" and name.lower().endswith(".gguf"):
        folder = "diffusion_models"
    page = f"https://{link.host}/models/{model_id}?modelVersionId={identity(version.get('id'))}"
    air = line(version.get("air"), 200) or f"civitai:{model_id}@{identity(version.get('id'))}"
    return Found(
        source="civitai",
        title=line(model.get("name"), TITLE_CHARACTERS_MAX) or f"CivitAI model {model_id}",
        folder=folder or folders.guessed(name),
        folder_is_guess=folder is None,
        file=FoundFile(name=name, size=_size(file), sha256=_sha256(file)),
        address=page,
        url=page,
        version=line(version.get("name"), 100),
        basemodel=line(version.get("baseModel"), 100),
        ecosystem=_ecosystem(air),
        license=_license(model),
        creator=line(mapping(model.get("creator")).get("username"), 100),
        trigger_words=_words(version),
        tags=lines(model.get("tags"), 20),
        image=_image(version),
        air=air,
        notes=_notes(file),
    )


def _file(version: dict[str, Any]) -> dict[str, Any] | None:
    """The file that CivitAI, and so civitdl, gives for this version."""
    files = [each for each in mappings(version.get("files")) if str(each.get("type")).lower() not in _NO_MODELS]
    return next((each for each in files if each.get("primary") is True), files[0] if files else None)


def _size(file: dict[str, Any]) -> int | None:
    """CivitAI counts in units of 1,024 bytes, with enough digits to be exact."""
    units = file.get("sizeKB")
    is_number = isinstance(units, int | float) and not isinstance(units, bool) and 0 < units < 10**12
    return round(units * 1024) if is_number and units is not None else None


def _sha256(file: dict[str, Any]) -> str | None:
    return sha256(mapping(file.get("hashes")).get("SHA256"))


def _words(version: dict[str, Any]) -> tuple[str, ...]:
    """People write several into one text."""
    texts = ", ".join(lines(version.get("trainedWords"))).split(",")
    return lines(texts)


def _image(version: dict[str, Any]) -> str | None:
    """A picture for everybody, in the size of a page."""
    for image in mappings(version.get("images")):
        level, address = image.get("nsfwLevel"), line(image.get("url"), 1_000)
        is_mild = isinstance(level, int) and not isinstance(level, bool) and level <= NSFW_LEVEL_MAX
        if address is not None and is_mild and image.get("type", "image") == "image":
            return address.replace("/original=true/", "/width=450/")
    return None


def _license(model: dict[str, Any]) -> str | None:
    """CivitAI has no names of licenses but permissions."""
    uses = model.get("allowCommercialUse")
    if uses is None:
        return None
    commercial = [use for use in ([uses] if isinstance(uses, str) else list(lines(uses, 6))) if use != "None"]
    parts = [f"commercial use: {', '.join(commercial)}" if commercial else "no commercial use"]
    if model.get("allowNoCredit") is False:
        parts.append("credit required")
    if model.get("allowDerivatives") is False:
        parts.append("no derivatives")
    return line("; ".join(parts), 200)


def _ecosystem(air: str) -> str | None:
    """``urn:air:sdxl:lora:civitai:1@2`` is of sdxl."""
    parts = air.split(":")
    return parts[2] if len(parts) > 4 and parts[0] == "urn" else None


def _notes(file: dict[str, Any]) -> tuple[str, ...]:
    bad = [scan for scan in ("virusScanResult", "pickleScanResult") if file.get(scan) in _UNSAFE]
    return (f"{SITE}'s scan of this file found something: look at its page before you install it",) if bad else ()
