#!/bin/bash
# Everything at the same time, with the tool that is there; what is there already is left alone.
set -u
ROOT=${WORKSPACE:?is not set}/ComfyUI
LIST="
checkpoints @/rate=500000/video_1b.safetensors
clip_vision @/rate=500000/clip_h.safetensors
loras @/rate=500000/motion.safetensors
upscale_models @/rate=500000/remacri.pth
"

pull() {
    mkdir -p "$1"
    if [[ -f "$1/${2##*/}" ]]; then
        echo "there already: ${2##*/}"
    elif command -v aria2c >/dev/null && [[ $2 == *.safetensors ]]; then
        aria2c --console-log-level=error --summary-interval=1 -c -x 4 -s 4 -k 1M -d "$1" -o "${2##*/}" "$2"
    else
        curl -fL --retry 2 -o "$1/${2##*/}" "$2"
    fi
}

while read -r folder url; do
    [[ -n $folder ]] || continue
    pull "$ROOT/models/$folder" "$url" &
done <<<"$LIST"
wait
[[ -d $ROOT/custom_nodes ]] || mkdir "$ROOT/custom_nodes"
cd "$ROOT" && nohup python3 -m http.server 0 >/dev/null 2>&1 &
