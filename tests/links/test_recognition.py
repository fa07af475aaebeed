"""What a pasted link leads to, and in which folder a model belongs."""

from __future__ import annotations

import pytest
from yarl import URL

from service.errors import InvalidRequest
from service.links import folders
from service.links.recognition import CivitaiLink, DirectLink, HuggingFaceLink, Link, recognise

COM, RED = "civitai.com", "civitai.red"
HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://civitai.com/models/12", CivitaiLink(host=COM, model_id=12)),
        ("https://civitai.com/models/12/a-name-of-it", CivitaiLink(host=COM, model_id=12)),
        ("https://civitai.com/models/12?modelVersionId=34", CivitaiLink(host=COM, model_id=12, version_id=34)),
        ("https://civitai.red/models/12/x?modelVersionId=34#c", CivitaiLink(host=RED, model_id=12, version_id=34)),
        ("https://www.civitai.com/models/12", CivitaiLink(host=COM, model_id=12)),
        ("civitai.com/models/12", CivitaiLink(host=COM, model_id=12)),
        ("  <https://civitai.com/models/12>\n", CivitaiLink(host=COM, model_id=12)),
        ("https://CivitAI.com/models/12", CivitaiLink(host=COM, model_id=12)),
        (
            "https://civitai.com/api/download/models/34?type=Model&format=SafeTensor",
            CivitaiLink(host=COM, version_id=34),
        ),
        ("https://civitai.com/api/download/models/34?token=abcdefgh", CivitaiLink(host=COM, version_id=34)),
        ("https://civitai.com/api/v1/models/12", CivitaiLink(host=COM, model_id=12)),
        ("https://civitai.com/api/v1/model-versions/34", CivitaiLink(host=COM, version_id=34)),
        ("urn:air:sdxl:lora:civitai:12@34", CivitaiLink(host=COM, model_id=12, version_id=34)),
        ("air:sdxl:lora:civitai:12@34", CivitaiLink(host=COM, model_id=12, version_id=34)),
        ("civitai:12@34", CivitaiLink(host=COM, model_id=12, version_id=34)),
        ("urn:air:sdxl:lora:civitai:12", CivitaiLink(host=COM, model_id=12)),
        ("urn:air:sdxl:lora:civitai:12@34:layer.safetensors", CivitaiLink(host=COM, model_id=12, version_id=34)),
        ("urn:air:flux1:checkpoint:huggingface:o/r@main", HuggingFaceLink(repository="o/r")),
        (f"{HUB}/o/r", HuggingFaceLink(repository="o/r")),
        (f"{HUB}/o/r/", HuggingFaceLink(repository="o/r")),
        (f"{HUB}/o/r/tree/main", HuggingFaceLink(repository="o/r")),
        (
            f"{HUB}/o/r/tree/v2/split_files/vae",
            HuggingFaceLink(repository="o/r", revision="v2", path="split_files/vae"),
        ),
        (
            f"{HUB}/o/r/blob/main/a/b.safetensors",
            HuggingFaceLink(repository="o/r", path="a/b.safetensors", is_file=True),
        ),
        (
            f"{HUB}/o/r/resolve/refs%2Fpr%2F1/b%20c.gguf?download=true",
            HuggingFaceLink(repository="o/r", revision="refs/pr/1", path="b c.gguf", is_file=True),
        ),
        ("hf.co/o/r", HuggingFaceLink(repository="o/r")),
        (f"{HUB}/gpt2/resolve/main/a.bin", HuggingFaceLink(repository="gpt2", path="a.bin", is_file=True)),
        ("https://host.example/a/b.pth?x=1", DirectLink(url=URL("https://host.example/a/b.pth?x=1"))),
    ],
)
def test_a_link_is_recognised(text: str, link: Link) -> None:
    assert recognise(text) == link


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "paste a link"),
        ("   ", "paste a link"),
        ("two words", "one line without spaces"),
        ("https://a.example/\nhttps://b.example", "one line"),
        (f"https://a.example/{'x' * 3_000}", "at most 2048"),
        ("model.safetensors", "begins with https"),
        ("ftp://a.example/x.pth", "begins with https"),
        ("javascript:alert(1)", "begins with https"),
        ("https://", "begins with https"),
        ("https://a.example:x/", "not an address"),
        ("https://civitai.com/", "not a model"),
        ("https://civitai.com/images/5", "not a model"),
        ("https://civitai.com/models/0", "not a model"),
        ("https://civitai.com/models/١٢", "not a model"),
        ("https://civitai.com/models/12/../../api", "not a model"),
        ("https://civitai.com/models/12?modelVersionId=x;rm", "must be a number"),
        ("civitai:abc@1", "names numbers"),
        ("civitai:1@x", "names numbers"),
        ("huggingface:onlyname", "owner/repository"),
        (f"{HUB}/", "not a repository"),
        (f"{HUB}/docs", "not a repository"),
        (f"{HUB}/datasets/o/r", "only repositories of models"),
        (f"{HUB}/spaces/o/r", "only repositories of models"),
        (f"{HUB}/o/$(id)", "OWNER/REPOSITORY"),
        (f"{HUB}/o/r/blob/main", "names no file"),
        (f"{HUB}/o/r/blob/main/..%2F..%2Fx.bin", "must not hold"),
        (f"{HUB}/o/r/resolve/..%2Fx/x.bin", "must not hold"),
        ("https://host.example/a.pth?token=abcdefgh", "holds a key"),
        ("https://s3.example/a.pth?X-Amz-Signature=abcdefgh", "holds a key"),
        ("https://user:password@host.example/a.pth", "holds a key"),
    ],
)
def test_another_text_is_refused_with_a_way_out(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        recognise(text)
    assert [error.field for error in refused.value.errors] == ["url"]


def test_a_link_of_another_host_is_not_civitais() -> None:
    for host in ("civitai.com.evil.example", "evilcivitai.com", "civitai.com@evil.example"):
        try:
            link = recognise(f"https://{host}/models/12")
        except InvalidRequest:
            continue
        assert isinstance(link, DirectLink)


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("split_files/text_encoders/t5xxl.safetensors", "text_encoders"),
        ("vae/diffusion_pytorch_model.safetensors", "vae"),
        ("unet/x.safetensors", "diffusion_models"),
        ("split_files/clip_vision/x.safetensors", "clip_vision"),
        ("checkpoints/loras/x.safetensors", "loras"),
        ("x.safetensors", None),
    ],
)
def test_the_folders_of_a_path_count(path: str, folder: str | None) -> None:
    assert folders.of_path(path.split("/")[:-1]) == folder


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("4x-UltraSharp.pth", "upscale_models"),
        ("RealESRGAN_x4plus.pth", "upscale_models"),
        ("my_lora_v2.safetensors", "loras"),
        ("explorations.safetensors", "checkpoints"),
        ("wan_2.1_vae.safetensors", "vae"),
        ("ae.safetensors", "vae"),
        ("clip_l.safetensors", "text_encoders"),
        ("umt5_xxl_fp8.safetensors", "text_encoders"),
        ("clip_vision_h.safetensors", "clip_vision"),
        ("control_v11p_controlnet.pth", "controlnet"),
        ("flux1-dev-Q4_K_S.gguf", "diffusion_models"),
        ("sd_xl_base_1.0.safetensors", "checkpoints"),
    ],
)
def test_a_folder_is_guessed_by_the_name(name: str, folder: str) -> None:
    assert folders.guessed(name) == folder
