"""Which folder of ComfyUI a model belongs in. Pure tables.

CivitAI says what a model is. Of other files only names speak: a folder in the path of a repository is taken at its word
(ComfyUI's own repositories are laid out like that), a word in the name is a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FOLDER_CHARACTERS_MAX = 100
FOLDER_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}$"

# Folders below models/, and what a card calls a model that lies there.
FOLDERS = {
    "checkpoints": "checkpoint",
    "loras": "lora",
    "vae": "vae",
    "diffusion_models": "diffusion_model",
    "text_encoders": "text_encoder",
    "clip_vision": "clip_vision",
    "controlnet": "controlnet",
    "upscale_models": "upscaler",
    "embeddings": "embedding",
    "hypernetworks": "hypernetwork",
    "style_models": "style_model",
    "ipadapter": "ipadapter",
    "animatediff_models": "motion_module",
    "audio_encoders": "audio_encoder",
    "model_patches": "model_patch",
    "latent_upscale_models": "latent_upscaler",
    "gligen": "gligen",
    "photomaker": "photomaker",
    "ultralytics": "detector",
    "vae_approx": "vae_approx",
}
# What people call them beside.
_ALSO = {
    "checkpoint": "checkpoints",
    "unet": "diffusion_models",
    "diffusion_model": "diffusion_models",
    "transformer": "diffusion_models",
    "clip": "text_encoders",
    "text_encoder": "text_encoders",
    "text_encoder_2": "text_encoders",
    "lora": "loras",
    "controlnets": "controlnet",
    "upscalers": "upscale_models",
    "upscaler": "upscale_models",
    "esrgan": "upscale_models",
    "embedding": "embeddings",
    "image_encoder": "clip_vision",
    "ip-adapter": "ipadapter",
}
# CivitAI's types of models that are one file for one folder. The others (poses, wildcards, workflows) are none.
OF_CIVITAI = {
    "checkpoint": "checkpoints",
    "lora": "loras",
    "locon": "loras",
    "lycoris": "loras",
    "dora": "loras",
    "textualinversion": "embeddings",
    "hypernetwork": "hypernetworks",
    "controlnet": "controlnet",
    "upscaler": "upscale_models",
    "vae": "vae",
    "motionmodule": "animatediff_models",
    "detection": "ultralytics",
}
SUFFIXES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx")
# Words in the name of a file or a repository; the first that is there counts.
_WORDS = (
    (r"clip[-_]?vision|image[-_]?encoder", "clip_vision"),
    (r"ip[-_]?adapter", "ipadapter"),
    (r"control[-_]?net|t2i[-_]?adapter|control[-_]?lora", "controlnet"),
    (r"loras?|lycoris|locon", "loras"),
    (r"(?:um)?t5|clip[-_]?[lg]|text[-_]?encoder", "text_encoders"),
    (r"vae|autoencoder|ae", "vae"),
    (r"upscal\w*|\w*esrgan\w*|\d?x[-_]?\w*sharp\w*|[248]x|x[248]\w*", "upscale_models"),
    (r"embeddings?|textual[-_]?inversion", "embeddings"),
)
_GUESSES = tuple((re.compile(rf"(?:^|[^a-z]){words}(?:$|[^a-z])"), folder) for words, folder in _WORDS)


def type_of(folder: str) -> str | None:
    """What a card calls a model in this folder."""
    return FOLDERS.get(folder.partition("/")[0])


def of_path(parts: Iterable[str]) -> str | None:
    """The folder that a path names, the innermost first."""
    for part in reversed([part.lower() for part in parts]):
        if part in FOLDERS or part in _ALSO:
            return _ALSO.get(part, part)
    return None


def guessed(*names: str) -> str:
    """By words in these names, the most telling name first."""
    for name in names:
        if name.lower().endswith(".gguf"):
            return "diffusion_models"
        for pattern, folder in _GUESSES:
            if pattern.search(name.lower()):
                return folder
    return "checkpoints"


def is_model_file(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
