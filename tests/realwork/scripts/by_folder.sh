#!/bin/bash
# Loads what a new pod needs for pictures: one list for each kind of file, and a server at the end.

COMFYUI_DIR="${COMFYUI_DIR:-${WORKSPACE:?is not set}/ComfyUI}"
SITE=@

CHECKPOINT_MODELS=(
    "$SITE/rate=600000/base_xl.safetensors"
)
UNET_MODELS=(
)
LORA_MODELS=(
    "$SITE/named=add_detail.safetensors/api/download/models/135867?type=Model&format=SafeTensor"
    "$SITE/rate=600000/more_light.safetensors"
)
VAE_MODELS=(
    "$SITE/moved,named=vae-ft.safetensors/vae-ft.safetensors"
)
ESRGAN_MODELS=(
    "$SITE/whole/4x_sharp.pth"
)

function provisioning_start() {
    provisioning_print_header
    provisioning_get_files "${COMFYUI_DIR}/models/checkpoints" "${CHECKPOINT_MODELS[@]}"
    provisioning_get_files "${COMFYUI_DIR}/models/unet" "${UNET_MODELS[@]}"
    provisioning_get_files "${COMFYUI_DIR}/models/loras" "${LORA_MODELS[@]}"
    provisioning_get_files "${COMFYUI_DIR}/models/vae" "${VAE_MODELS[@]}"
    provisioning_get_files "${COMFYUI_DIR}/models/upscale_models" "${ESRGAN_MODELS[@]}"
    provisioning_print_end
}

function provisioning_get_files() {
    if [[ -z $2 ]]; then return 1; fi
    dir="$1"
    mkdir -p "$dir"
    shift
    arr=("$@")
    printf "Loading %s file(s) into %s...\n" "${#arr[@]}" "$dir"
    for url in "${arr[@]}"; do
        provisioning_download "${url}" "${dir}"
        printf "\n"
    done
}

function provisioning_print_header() {
    printf "\n##############################################\n#          The pod is being prepared         #\n"
    printf "##############################################\n\n"
}

function provisioning_print_end() {
    printf "\nPrepared: the web page starts now\n\n"
}

function provisioning_download() {
    if [[ -n $HF_TOKEN && $1 =~ ^https://([a-zA-Z0-9_-]+\.)?huggingface\.co(/|$|\?) ]]; then
        auth_token="$HF_TOKEN"
    elif [[ -n $CIVITAI_TOKEN && $1 =~ ^https://([a-zA-Z0-9_-]+\.)?civitai\.com(/|$|\?) ]]; then
        auth_token="$CIVITAI_TOKEN"
    fi
    if [[ -n $auth_token ]]; then
        wget --header="Authorization: Bearer $auth_token" -qnc --content-disposition --show-progress -e dotbytes="${3:-4M}" -P "$2" "$1"
    else
        wget -qnc --content-disposition --show-progress -e dotbytes="${3:-4M}" -P "$2" "$1"
    fi
}

provisioning_start
nohup python3 -m http.server 0 --directory "$COMFYUI_DIR/models" >/dev/null 2>&1 &
