# shellcheck shell=sh
# What is on this instance. `sh` reads it from standard input, after lines that set nonce, programs (the name of the
# service's own, attach.sh) and ui_home (empty: do not look at it). It prints the nonce, then the job directories, one a
# line, `programs ready` if these are there, then `ui_home ready|missing|other`, and if it is not ready, up to five
# folders that look like a ComfyUI: `elsewhere` and the path in base64.

# A job that left nothing but its fence is not worth a word, and after a day not its file either.
say_jobs() {
    fences=
    for job in *; do
        if is_fence_alone "$job"; then
            fences=1
        else
            printf '%s\n' "$job"
        fi
    done
    [ -z "$fences" ] || find . -maxdepth 2 -name fence -mtime +0 | while IFS= read -r fence; do
        job=${fence%/fence}
        ! is_fence_alone "$job" || rm -rf -- "$job"
    done
}

is_fence_alone() {
    only=$1/fence
    set -- "$1"/*
    [ "$*" = "$only" ]
}

# A ComfyUI, or one of the other programs that keep their models in the same way.
is_ui() {
    [ -d "$1/models" ] && { [ -f "$1/main.py" ] || [ -f "$1/launch.py" ] || [ -f "$1/webui.py" ]; }
}

is_comfyui() {
    [ -d "$1/models" ] && [ -f "$1/main.py" ]
}

# The usual places.
usual() {
    for place in /workspace/ComfyUI "$home/ComfyUI" /opt/ComfyUI /root/ComfyUI /comfyui /ComfyUI /app/ComfyUI /app \
        /workspace/madapps/ComfyUI /workspace/runpod-slim/ComfyUI /opt/workspace-internal/ComfyUI /home/*/ComfyUI \
        /data/ComfyUI /mnt/ComfyUI /storage/ComfyUI /notebooks/ComfyUI /content/ComfyUI "$ui_home/ComfyUI" \
        "$(dirname -- "$ui_home")"; do
        is_comfyui "$place" && printf '%s\n' "$place"
    done
}

# Shallow and short: a disk may be slow, or remote.
searched() {
    parent=$(dirname -- "$ui_home")
    [ "$parent" != / ] || parent=
    timeout 3 find "$home" ${parent:+"$parent"} /workspace /opt /home /data /mnt /srv /app -maxdepth 4 \
        -name main.py -type f 2>/dev/null | head -n 200 | while IFS= read -r file; do
        is_comfyui "${file%/main.py}" && printf '%s\n' "${file%/main.py}"
    done
}

look_at_ui_home() {
    if is_ui "$ui_home"; then
        echo ui_home ready
        return
    fi
    found=$(usual)
    if [ -d "$ui_home" ]; then
        echo ui_home other
    else
        echo ui_home missing
        [ -n "$found" ] || found=$(searched)
    fi
    [ -n "$found" ] || return 0
    printf '%s\n' "$found" | awk '!seen[$0]++' | head -n 5 | while IFS= read -r place; do
        printf 'elsewhere %s\n' "$(printf '%s' "$place" | base64 | tr -d '\n')"
    done
}

main() {
    printf '\n%s\n' "$nonce"
    home=${HOME:-/root}
    (cd "$home/.local/state/resource-installer" 2>/dev/null && say_jobs)
    [ ! -e "$home/.local/state/resource-installer/programs/$programs/ready" ] || echo programs ready
    [ -z "$ui_home" ] || look_at_ui_home
    exit 0
}

main </dev/null
