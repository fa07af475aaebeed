"""Which keys there are: one row a key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SSH = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyKind:
    """``setting``: the environment variable that goes before the stored key. ``page``: where a person makes one.
    ``use``: what it is for."""

    name: str
    title: str
    setting: str
    page: str
    use: str


KEYS: Mapping[str, KeyKind] = {
    kind.name: kind
    for kind in (
        KeyKind(
            name="civitai",
            title="CivitAI API key",
            setting="INSTALLER_CIVITAI_API_KEY",
            page="https://civitai.com/user/account",
            use="models that CivitAI gives to accounts alone",
        ),
        KeyKind(
            name="huggingface",
            title="Hugging Face token",
            setting="INSTALLER_HF_TOKEN",
            page="https://huggingface.co/settings/tokens",
            use="gated and private repositories",
        ),
        KeyKind(
            name="vast",
            title="Vast.ai API key",
            setting="INSTALLER_VAST_API_KEY",
            page="https://cloud.vast.ai/manage-keys/",
            use="the list of your instances",
        ),
    )
}
