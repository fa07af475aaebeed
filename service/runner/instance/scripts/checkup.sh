# shellcheck shell=sh
# What an install needs of an instance. `sh` reads it from standard input, after lines that set nonce, ui_home, tools
# (their names, separated by spaces) and remote_path. It prints the nonce, then `disk` with the kilobytes in all and free
# where ui_home is or will be, and `tool` with the name of each that is there.

main() {
    printf '\n%s\n' "$nonce"
    PATH=${remote_path:+$remote_path:}$PATH:$HOME/.local/bin
    place=$ui_home
    until [ -d "$place" ] || [ "$place" = / ]; do
        place=$(dirname -- "$place")
    done
    df -Pk -- "$place" 2>/dev/null | awk 'NR == 2 { print "disk", $2, $4 }'
    for tool in $tools; do
        ! command -v "$tool" >/dev/null 2>&1 || printf 'tool %s\n' "$tool"
    done
    exit 0
}

main </dev/null
