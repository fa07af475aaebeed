"""The text of a card. Pure.

Nothing that a site says is trusted to be harmless: the front matter is written by a YAML library, each word of a
command is quoted for the shell, and into the prose goes only what is neither markup nor a line of its own.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml

from service.links.folders import type_of
from service.links.found import Found, FoundFile

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./ +,@=-]+")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_./:?&=%+,@~-]+")
_NO_PROSE = re.compile(r"[^\w .,;()+'-]")
SLUG_CHARACTERS_MAX = 80
_SITES = {"civitai": "CivitAI", "huggingface": "Hugging Face"}


def card_text(found: Found, file: FoundFile) -> str:
    """The whole card, as the library reads it."""
    # Wide lines: a folded one would be none that people like to edit.
    front = yaml.safe_dump(_front(found, file), allow_unicode=True, sort_keys=False, width=10_000)
    return (
        f"---\n{front}---\n# Description\n{_description(found)}\n\n# Download\n```bash\n{_commands(found, file)}\n```\n"
    )


def card_path(found: Found) -> str:
    """Where the card lies in the library if nobody says otherwise: ``loras/dramatic_lighting_v1_0.md``."""
    name = " ".join(part for part in (found.title, found.version) if part is not None)
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:SLUG_CHARACTERS_MAX].strip("_")
    if not words:
        number = re.sub(r"[^0-9]+", "_", found.air or "").strip("_")
        words = f"model_{number}" if number else "model"
    # A README is not a card.
    return f"{found.folder}/{words if words != 'readme' else 'readme_model'}.md"


def _front(found: Found, file: FoundFile) -> dict[str, Any]:
    front: dict[str, Any] = {
        "title": found.title,
        "type": type_of(found.folder),
        "ecosystem": found.ecosystem,
        "basemodel": found.basemodel,
        "version": found.version,
        "tags": list(found.tags),
        "trigger_words": list(found.trigger_words),
        **_exact(found, file),
        "url": found.url,
        "license": found.license,
        "creator": found.creator,
        "image": found.image,
        "AIR": found.air,
    }
    return {key: value for key, value in front.items() if value not in (None, [])}


def _exact(found: Found, file: FoundFile) -> dict[str, Any]:
    """civitdl makes a folder of its own for each model, so only its file's hash is known beforehand."""
    if found.source == "civitai":
        return {"size": file.size, "sha256": file.sha256}
    entry = {"path": f"models/{found.folder}/{file.name}", "sha256": file.sha256, "size": file.size}
    return {"files": [{key: value for key, value in entry.items() if value is not None}]}


def _description(found: Found) -> str:
    what = (type_of(found.folder) or "model").replace("_", " ")
    base = f" for {_prose(found.basemodel)}" if found.basemodel and _prose(found.basemodel) else ""
    site = f", from {_SITES[found.source]}" if found.source in _SITES else ""
    words = ", ".join(filter(None, map(_prose, found.trigger_words)))
    return f"Model ({what}){base}{site}." + (f"\nTrigger words: {words}." if words else "")


def _prose(text: str) -> str:
    return " ".join(_NO_PROSE.sub(" ", text).split())


def _commands(found: Found, file: FoundFile) -> str:
    folder = f"models/{found.folder}"
    if found.source == "civitai":
        return f"civitdl {_address(found.address)} {_below_home(folder)}"
    destination = _below_home(f"{folder}/{file.name}")
    if not found.asks_for_token:
        return f"curl -fgL -C - --create-dirs -o {destination} \\\n  {_address(found.address)}"
    # By standard input the token is on no command line. curl keeps it for the first host, which sends on to a storage
    # that refuses it; wget would send it there too.
    return (
        f"curl -fgL -C - --create-dirs -H @- -o {destination} \\\n"
        f'  {_address(found.address)} \\\n  <<<"Authorization: Bearer $HF_TOKEN"'
    )


def _below_home(path: str) -> str:
    return f'"$UI_HOME/{path}"' if _PLAIN_PATH.fullmatch(path) else f'"$UI_HOME"/{shlex.quote(path)}'


def _address(url: str) -> str:
    return f'"{url}"' if _PLAIN_ADDRESS.fullmatch(url) else shlex.quote(url)
