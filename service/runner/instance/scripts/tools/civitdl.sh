# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# civitdl's words are its sources, then the root folder; its options stand anywhere.

destinations() {
    read_argv sik 'sorter max-images nsfw-mode api-key limit-rate retry-count pause-time cache-mode strict-mode' "$@"
    root=
    if [ "${#words[@]}" -ge 2 ]; then
        root=${words[-1]}
        wrote dir "$root"
        addresses=("${words[@]:0:${#words[@]}-1}")
        writes dir "$root"
    fi
}

compose() {
    [ "${#words[@]}" -lt 2 ] || take_turn
    # Its own retries and pauses are off there: one policy decides, and each failure is seen.
    export XDG_CONFIG_HOME=$attempt/config
    # The locks stay with this shell (`launch` closes 6 and 7): a child that outlives the tool must not hold them.
    [ -z "$limit" ] || front=(--limit-rate "$limit")
    assemble "$@"
}

# Two runs that write into one model's folder delete each other's files: they take turns. A run whose models cannot be
# known from its argv takes the whole root folder.
take_turn() {
    local folder ids=() source sources=("${words[@]:0:${#words[@]}-1}")
    mkdir -p "$state/locks" || return
    folder=$state/locks/$(realpath -m -- "$root" | cksum | tr -c '0-9\n' -)
    for source in "${sources[@]}"; do
        if [[ $source =~ ^[0-9]+$ || $source =~ ^https?://[^/,[:space:]]+/models/([0-9]+)[^,[:space:]]*$ ]]; then
            ids+=("${BASH_REMATCH[1]:-$source}")
        else
            ids+=(any any)
        fi
    done
    exec 7>>"$folder.root"
    if [ "${#ids[@]}" != 1 ]; then
        turn 7 -x "another download into $root"
        return
    fi
    turn 7 -s "another download into $root"
    exec 6>>"$folder-${ids[0]}.model"
    turn 6 -x "another download of model ${ids[0]}"
}
