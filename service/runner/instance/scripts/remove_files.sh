# shellcheck shell=sh
# Removes files below the models folder of ComfyUI. `sh` reads it from standard input, after lines that set nonce, job,
# epoch (fence.sh), ui_home and paths: in base64, separated by spaces, each below models/. It prints the nonce, then for
# each in its order `removed` and the size that it had, `gone` if it was not there, or `stays` and why, in base64;
# `stale` in place of what is left to do once a later owner was here.

remove() {
    file=./$1
    if [ -d "$file" ] && [ ! -L "$file" ]; then
        stays 'it is a folder'
    elif [ ! -e "$file" ] && [ ! -L "$file" ]; then
        echo gone
    else
        size=$(stat -L -c %s -- "$file" 2>/dev/null || stat -c %s -- "$file" 2>/dev/null)
        if said=$(LC_ALL=C rm -f -- "$file" 2>&1); then
            printf 'removed %s\n' "${size:-0}"
        else
            stays "$said"
        fi
    fi
}

stays() {
    printf 'stays %s\n' "$(printf '%s' "$1" | tail -c 300 | base64 | tr -d '\n')"
}

main() {
    printf '\n%s\n' "$nonce"
    folder=${HOME:-/root}/.local/state/resource-installer/$job
    # A disk that is full, or cannot be written, keeps nobody from making room.
    (umask 077 && mkdir -p "$folder") 2>/dev/null
    enter "$folder" || { echo stale && exit 0; }
    cd -- "$ui_home/models" 2>/dev/null || { echo missing && exit 0; }
    for word in $paths; do
        # Many files take time, in which another owner may come.
        ! is_stale "$folder" || { echo stale && exit 0; }
        # A newline at the end of a name would be lost.
        path=$(printf '%s' "$word" | base64 -d && echo .)
        remove "${path%.}"
    done
    exit 0
}

main </dev/null
