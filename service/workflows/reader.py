"""Reads the models that a workflow names: in the properties of its nodes, in their widgets, in subgraphs, at its root,
and in the form that ComfyUI's API takes. Pure, within bounds: a workflow comes from a stranger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from service.errors import FieldError, InvalidRequest

NODES_MAX = 5_000
MODELS_MAX = 500
DEPTH_MAX = 12
TEXTS_MAX = 200_000
NAME_CHARACTERS_MAX = 255
URL_CHARACTERS_MAX = 2_000
SUFFIXES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx")

# The folder below models/ in which a node looks, by words of its type, the first that fits. ComfyUI's own nodes and the
# most used others; a word that is part of another comes after it.
_FOLDERS = (
    (r"clip_?vision", "clip_vision"),
    (r"ip_?adapter", "ipadapter"),
    (r"control_?net", "controlnet"),
    (r"upscale_?model|upscaler", "upscale_models"),
    (r"style_?model", "style_models"),
    (r"audio_?encoder", "audio_encoders"),
    (r"model_?patch", "model_patches"),
    (r"hypernetwork", "hypernetworks"),
    (r"gligen", "gligen"),
    (r"photo_?maker", "photomaker"),
    (r"ultralytics|detector", "ultralytics"),
    (r"lora", "loras"),
    (r"vae", "vae"),
    (r"unet|diffusion_?model", "diffusion_models"),
    (r"clip|text_?encoder", "text_encoders"),
    (r"checkpoint|ckpt", "checkpoints"),
)
_PATTERNS = tuple((re.compile(words), folder) for words, folder in _FOLDERS)
# Of a node's `mode`: never, and bypassed.
_SWITCHED_OFF = (2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """``name``: of the file, maybe with folders before it. ``url`` and ``directory``: as the workflow gives them, not
    looked at. ``folder``: where a node of this ``node`` type looks. ``sha256`` only if it is one."""

    name: str
    url: str | None = None
    directory: str | None = None
    folder: str | None = None
    sha256: str | None = None
    node: str | None = None


def read_workflow(text: str) -> list[NamedModel]:
    """Each name once, with all that is known of it. Takes a while for a long one. Raises InvalidRequest."""
    try:
        given = orjson.loads(text)
    except ValueError as error:
        raise _refused(f"this is not JSON, or it is nested too deeply: {str(error)[:200]}") from error
    if not isinstance(given, dict):
        raise _refused("this is not a workflow: ComfyUI saves one as a JSON object")
    budget = _Budget()
    nodes = list(_nodes(given, budget))
    if not nodes and "models" not in given:
        raise _refused("this is not a workflow of ComfyUI: it has no nodes; use Workflow, Export there")
    found: dict[str, NamedModel] = {}
    for model in (*_listed(given.get("models"), None), *(each for node in nodes for each in _of_node(node, budget))):
        key = _key(model.name)
        found[key] = _merged(found[key], model) if key in found else model
        if len(found) > MODELS_MAX:
            raise _refused(f"it names more than {MODELS_MAX} models")
    return list(found.values())


class _Budget:
    """What may still be looked at."""

    def __init__(self) -> None:
        self.nodes = NODES_MAX
        self.texts = TEXTS_MAX

    def take_node(self) -> None:
        self.nodes -= 1
        if self.nodes < 0:
            raise _refused(f"it has more than {NODES_MAX} nodes")

    def take_text(self) -> None:
        self.texts -= 1
        if self.texts < 0:
            raise _refused(f"its nodes hold more than {TEXTS_MAX} values")


def _nodes(given: dict[str, Any], budget: _Budget) -> Iterator[dict[str, Any]]:
    """Those of the workflow and of its subgraphs, or of the API's form: an object for each, by its number."""
    graphs: list[Any] = [given]
    definitions = given.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    graphs += subgraphs if isinstance(subgraphs, list) else []
    has_graph = False
    for graph in graphs:
        nodes = graph.get("nodes") if isinstance(graph, dict) else None
        for node in nodes if isinstance(nodes, list) else []:
            has_graph = True
            budget.take_node()
            if isinstance(node, dict) and node.get("mode") not in _SWITCHED_OFF:
                yield node
    if not has_graph:
        prompt = given.get("prompt")
        for node in (prompt if isinstance(prompt, dict) else given).values():
            if isinstance(node, dict) and isinstance(node.get("class_type"), str):
                budget.take_node()
                yield node


def _of_node(node: dict[str, Any], budget: _Budget) -> Iterator[NamedModel]:
    kind = node.get("type") if isinstance(node.get("type"), str) else node.get("class_type")
    kind = kind[:200] if isinstance(kind, str) else None
    properties = node.get("properties")
    listed = list(_listed(properties.get("models"), kind)) if isinstance(properties, dict) else []
    yield from listed
    for widget, text in _texts(node.get("widgets_values"), "", budget):
        yield from _named(text, f"{widget} {kind or ''}", kind)
    for widget, text in _texts(node.get("inputs"), "", budget):
        yield from _named(text, f"{widget} {kind or ''}", kind)


def _texts(value: Any, name: str, budget: _Budget, depth: int = 0) -> Iterator[tuple[str, str]]:
    """All texts in a value, each with the name that it has there."""
    budget.take_text()
    if isinstance(value, str):
        yield name, value
    elif depth < DEPTH_MAX and isinstance(value, list):
        for each in value:
            yield from _texts(each, name, budget, depth + 1)
    elif depth < DEPTH_MAX and isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, str(key)[:100], budget, depth + 1)


def _named(text: str, words: str, kind: str | None) -> Iterator[NamedModel]:
    if len(text) <= NAME_CHARACTERS_MAX and text.lower().endswith(SUFFIXES) and "://" not in text and "\n" not in text:
        yield NamedModel(name=text.replace("\\", "/"), folder=_folder(words), node=kind)


def _listed(models: Any, kind: str | None) -> Iterator[NamedModel]:
    for each in models if isinstance(models, list) else []:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX:
            continue
        url, directory, digest = each.get("url"), each.get("directory"), each.get("hash")
        is_sha256 = isinstance(digest, str) and re.fullmatch(r"[0-9a-fA-F]{64}", digest) is not None
        yield NamedModel(
            name=name.replace("\\", "/"),
            url=url if isinstance(url, str) and len(url) <= URL_CHARACTERS_MAX else None,
            directory=directory[:NAME_CHARACTERS_MAX] if isinstance(directory, str) else None,
            folder=_folder(kind or ""),
            sha256=digest.lower() if is_sha256 else None,
            node=kind,
        )


def _folder(words: str) -> str | None:
    lowered = words.lower()
    return next((folder for pattern, folder in _PATTERNS if pattern.search(lowered)), None)


def _key(name: str) -> str:
    return name.rpartition("/")[2].casefold()


def _merged(one: NamedModel, other: NamedModel) -> NamedModel:
    return NamedModel(
        name=one.name if "/" in one.name else other.name,
        url=one.url or other.url,
        directory=one.directory or other.directory,
        folder=one.folder or other.folder,
        sha256=one.sha256 or other.sha256,
        node=one.node or other.node,
    )


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(f"workflow: {message}", [FieldError("workflow", message)])
