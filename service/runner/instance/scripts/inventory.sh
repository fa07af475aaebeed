# shellcheck shell=sh
# What lies in the models folder of ComfyUI. `sh` reads it from standard input, after lines that set nonce, ui_home and
# files_max. It prints the nonce, then lines: `disk` with the kilobytes in all and free, `card` with the name of what is
# remembered of a card, a path in base64 and its size (left.sh), and at last `models missing`, `models untold` (no find
# that prints what is asked for) or `models`. After that, ended by NUL: the paths of small files with a model's name that
# are text, an empty one, then for each file its type, size, time of change and path.

# Both look at the same: links are followed, since a shared disk is often linked to, but not without end.
found() {
    timeout 10 find -L . -mindepth 1 -maxdepth 8 -name '.*' -prune -o "$@" 2>/dev/null
}

say_cards() {
    cd "$home/.local/state/resource-installer/cards" 2>/dev/null || return
    awk 'NF > 1 { print "card", FILENAME, $1, $2 }' ./* 2>/dev/null | head -n 20000
}

main() {
    printf '\n%s\n' "$nonce"
    home=${HOME:-/root}
    df -Pk -- "$ui_home" 2>/dev/null | awk 'NR == 2 { print "disk", $2, $4 }'
    (say_cards)
    cd -- "$ui_home/models" 2>/dev/null || { echo models missing && exit 0; }
    [ "$(find . -maxdepth 0 -printf '%y' 2>/dev/null)" = d ] || { echo models untold && exit 0; }
    echo models
    # shellcheck disable=SC2039,SC3045
    found -type f -size -4097k \( -name '*.safetensors' -o -name '*.sft' -o -name '*.ckpt' -o -name '*.pt' -o \
        -name '*.pth' -o -name '*.bin' -o -name '*.gguf' -o -name '*.onnx' \) -exec grep -lIZ '' {} + |
        head -z -n "$files_max"
    printf '\0'
    found \( -type f -o -type l \) -printf '%y\t%s\t%Ts\t%P\0' | head -z -n "$((files_max + 1))"
    exit 0
}

main </dev/null
