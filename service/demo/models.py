"""The models of the demo, and the cards that install them."""

from __future__ import annotations

from pathlib import Path

from service.demo.civitai import StandInModel

RATE = 1_500_000  # bytes a second: slow enough to see the bars move

MODELS = (
    StandInModel(id=1001, name="Dramatic Lighting Slider", size_bytes=4_000_000, images=3, bytes_per_second=RATE),
    StandInModel(id=1002, name='The "Quoted" LoRA — 光の魔法', size_bytes=3_000_000, images=2, bytes_per_second=RATE),
    StandInModel(id=1003, name="Anime Upscaler 4x", size_bytes=6_000_000, images=1, bytes_per_second=RATE),
)
FOLDERS = {1001: "loras", 1002: "loras", 1003: "upscale_models"}
GONE = 1003  # answers 404 if the demo shall fail

_CARD = """---
title: {title}
type: {folder}
size: {size}
dependencies: {dependencies}
---
# Description
A model of the demo.

# Download
```bash
civitdl "https://civitai.com/models/{id}?modelVersionId={version}" "$UI_HOME/models/{folder}"
```
"""


def write_cards(folder: Path) -> list[str]:
    """Write a card for each model; returns their paths in the library. The second depends on the first."""
    paths: list[str] = []
    for model in MODELS:
        path = f"{FOLDERS[model.id]}/model_{model.id}.md"
        dependencies = [paths[0]] if model.id == 1002 else []
        title = f"Demo model {model.id}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        text = _CARD.format(
            title=title,
            folder=FOLDERS[model.id],
            size=model.size_bytes,
            dependencies=dependencies,
            id=model.id,
            version=model.version_id,
        )
        (folder / path).write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
